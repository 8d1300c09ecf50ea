"""Monte Carlo without a gradient: how often a classifier answers each class at x + C z.

Counts depend neither on the order of the inputs nor on the number of worker threads, but on the micro-batch.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rddrs.noise import FAMILIES, LAST_BLOCK, Family, Grid, Norm, Purpose, Scale, generator, owned
from rddrs.smoothing.cores import on_single_cores
from rddrs.smoothing.edge import Classifier, check_precision, held, logits_of


def votes(logits: Float[Tensor, "n k"]) -> Int[Tensor, " n"]:
    """The class of every row; k, which is no class, where a row holds NaN."""
    largest, classes = logits.max(dim=1)  # NaN is larger than any number
    return torch.where(largest.isnan(), logits.shape[1], classes)


def hard_counts(
    classifier: Classifier,
    x: Float[Tensor, "*shape"],
    scale: Scale,
    samples: int,
    *,
    purpose: Purpose,
    seed: int = 0,
    index: int = 0,
    batch: int = 256,
    workers: int = 1,
    first: int = 0,
    classes: int | None = None,
    norm: Norm = "l2",
    grid: float | None = None,
) -> Int[Tensor, " k"]:
    """How often the classifier answers each class at `samples` draws of x + B z, with a `grid` of its multiples.

    z is of the family of the `norm`, B the factor of C that noise is made with.

    Draws at which the classifier answers NaN are counted for no class. Each of the `workers` threads runs the network
    on one core, so that their number never changes a count (but for the rounding of a full scale's product where
    fewer than six draws are left over for the last one). `first` is the number of the first block. Raises ValueError
    where the answers are not logits [n, k], of as many classes in every call, of `classes` where these are given,
    where x is of half precision or does not lie on the grid, and where the draws need more than 2^24 - 1 blocks.
    """
    check_precision(x.dtype, "the input")
    blocks = range(first, first + -(-samples // batch))
    if blocks.stop > LAST_BLOCK:
        raise ValueError(f"{samples} samples in micro-batches of {batch} are more than {LAST_BLOCK} blocks: enlarge it")
    sizes = [(block, min(batch, samples - batch * (block - first))) for block in blocks]
    workers = min(workers, len(sizes))
    stream = partial(generator, seed, index, purpose, device=x.device)
    x, scale = owned(x), scale.to(x.device, x.dtype)
    placed = None if grid is None else Grid(x.flatten(), scale, grid)
    count = partial(_count, classifier, x, scale, FAMILIES[norm], stream, classes, placed)
    with held(classifier):
        found = on_single_cores(count, [sizes[worker::workers] for worker in range(workers)])
    if len(widths := {len(counts) - 1 for counts in found}) > 1:
        raise ValueError(f"classifier: it answers {sorted(widths)} classes in turn: they must not change")
    return torch.stack(found).sum(dim=0)[:-1].cpu()


NOISE = 1 << 21
"""Noise is drawn and votes are counted for as many micro-batches together as make so many numbers, or for one."""


FIRST_LOOK = 32
"""The draws before the first look of `running_counts`."""


def running_counts(
    classifier: Classifier, x: Float[Tensor, "*shape"], scale: Scale, samples: int, *, batch: int = 256, **options: Any
) -> Iterator[tuple[Int[Tensor, " k"], int]]:
    """The counts of the first draws and how many these are, for a test that may stop at every look.

    Looks come after 32 draws, then after 32 or a quarter more than before, whichever is more, and after all
    `samples`. What has been counted up to a look does not depend on the looks after it. Options as of `hard_counts`.
    """
    counts, drawn, block = torch.zeros((), dtype=torch.long), 0, 0
    while drawn < samples:
        more = min(max(FIRST_LOOK, drawn // 4), samples - drawn)
        counts = counts + hard_counts(classifier, x, scale, more, batch=batch, first=block, **options)
        options["classes"] = len(counts)
        drawn, block = drawn + more, block - (-more // batch)
        yield counts, drawn


@torch.inference_mode()
def _count(
    classifier: Classifier,
    x: Float[Tensor, "*shape"],
    scale: Scale,
    family: Family,
    stream: Callable[[int], torch.Generator],
    classes: int | None,
    grid: Grid | None,
    sizes: list[tuple[int, int]],
) -> Int[Tensor, " k1"]:
    """The counts of some blocks, each given by its number and size, and those of the votes for no class."""
    flat, largest = x.flatten(), max(size for _, size in sizes)
    center = flat if grid is None else torch.zeros_like(flat)
    together = max(1, NOISE // (largest * flat.numel()))
    z = flat.new_empty(min(together, len(sizes)) * largest, flat.numel())
    total = x.new_zeros((), dtype=torch.long)
    for start in range(0, len(sizes), together):
        blocks, parts = map(list, zip(*sizes[start : start + together], strict=True))
        noise = z[: sum(parts)]
        for block, rows in zip(blocks, noise.split(parts), strict=True):
            family.fill(rows, stream(block))
        answers = []  # classes alone: a classifier may answer in the same memory again
        for rows in scale.perturb(center, noise).split(parts):
            rows = rows if grid is None else grid(rows)  # here, where the core's cache will hold them
            logits = logits_of(classifier, rows.view(-1, *x.shape), classes)
            classes = logits.shape[1]
            answers.append(votes(logits))
        total = total + torch.bincount(torch.cat(answers), minlength=(classes or 0) + 1)
    return total
