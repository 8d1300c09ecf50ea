"""Monte Carlo without a gradient: how often a classifier answers each class at x + B z.

Counts depend neither on the order of the inputs nor on the number of worker threads, but on the micro-batch.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rddrs.noise import Draws, Grid, Scale, Stream, numbers_together, owned
from rddrs.smoothing.cores import on_single_cores
from rddrs.smoothing.edge import check_classes, check_precision, held, logits_of, tally, votes
from rddrs.smoothing.smoothed import SmoothedClassifier

NOISE = 1 << 21
"""Noise is drawn and votes are counted for as many micro-batches together as make so many numbers, or for one."""

FIRST_LOOK = 32
"""The draws before the first look of `running_counts`."""


def hard_counts(
    smoothed: SmoothedClassifier, x: Float[Tensor, "*shape"], draws: Sequence[Draws], workers: int = 1
) -> Int[Tensor, " k"]:
    """How often the base classifier answers each class at draws of x + B z, with a grid at its multiples.

    Draws at which it answers NaN are counted for no class. Each of the `workers` threads runs the network on one core,
    so that their number never changes a count (but for the rounding of a full scale's product where fewer than six
    draws are left over for the last one). Raises ValueError where the answers are not logits [n, k], of as many classes
    in every call, and where x is of half precision or does not lie on the grid.
    """
    check_precision(x.dtype, "the input")
    workers, x, scale = min(workers, len(draws)), owned(x), smoothed.scale.to(x.device, x.dtype)
    grid = None if smoothed.grid is None else Grid(x.flatten(), scale, smoothed.grid)
    count = partial(_count, smoothed, x, scale, grid)
    with held(smoothed.classifier):
        found = on_single_cores(count, [draws[worker::workers] for worker in range(workers)])
    check_classes(len(counts) - 1 for counts in found)
    return torch.stack(found).sum(dim=0)[:-1].cpu()


def running_counts(
    smoothed: SmoothedClassifier,
    x: Float[Tensor, "*shape"],
    stream: Stream,
    samples: int,
    *,
    batch: int = 256,
    workers: int = 1,
) -> Iterator[tuple[Int[Tensor, " k"], int]]:
    """The counts of the first draws and how many these are, for a test that may stop at every look.

    Looks come after 32 draws, then after 32 or a quarter more than before, whichever is more, and after all
    `samples`. What has been counted up to a look does not depend on the looks after it. Errors as of `hard_counts`.
    """
    found, drawn, block = [], 0, 0
    while drawn < samples:
        more = min(max(FIRST_LOOK, drawn // 4), samples - drawn)
        draws = stream.draws(more, batch, first=block)
        found.append(hard_counts(smoothed, x, draws, workers))
        check_classes(map(len, found))
        drawn, block = drawn + more, block + len(draws)
        yield torch.stack(found).sum(dim=0), drawn


@torch.inference_mode()
def _count(
    smoothed: SmoothedClassifier, x: Float[Tensor, "*shape"], scale: Scale, grid: Grid | None, draws: Sequence[Draws]
) -> Int[Tensor, " k1"]:
    """The counts of some micro-batches, and those of the votes for no class."""
    flat, family, classes, largest = x.flatten(), smoothed.family, None, max(size for _, size in draws)
    center = flat if grid is None else torch.zeros_like(flat)
    together = max(1, numbers_together(flat.device, NOISE) // (largest * flat.numel()))
    z = flat.new_empty(min(together, len(draws)) * largest, flat.numel())
    total = x.new_zeros((), dtype=torch.long)
    for start in range(0, len(draws), together):
        streams, sizes = zip(*draws[start : start + together], strict=True)
        noise = z[: sum(sizes)]
        for stream, rows in zip(streams, noise.split(sizes), strict=True):
            family.fill(rows, stream.generator(x.device))
        answers = []  # classes alone: a classifier may answer in the same memory again
        for rows in scale.perturb(center, noise).split(sizes):
            rows = rows if grid is None else grid(rows)  # here, where the core's cache will hold them
            logits = logits_of(smoothed.classifier, rows.view(-1, *x.shape), classes)
            classes = logits.shape[1]
            answers.append(votes(logits))
        total = tally(torch.cat(answers), total if start else total.new_zeros((classes or 0) + 1))
    return total
