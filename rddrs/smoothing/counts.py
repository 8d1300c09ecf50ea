"""Monte Carlo without a gradient: how often a classifier answers each class at x + B z.

Counts depend neither on the order of the inputs nor on the number of worker threads, but on the micro-batch.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rddrs.noise import Draws, Family, Grid, Scale, Stream, numbers_together, owned
from rddrs.smoothing.cores import on_single_cores
from rddrs.smoothing.edge import check_classes, check_precision, held, logits_of, tally, votes
from rddrs.smoothing.smoothed import SmoothedClassifier

NOISE = 1 << 22
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


class Asked(NamedTuple):
    """Draws of the noise of G_C around an input, to be counted: micro-batches of no more rows than a call takes."""

    smoothed: SmoothedClassifier
    x: Tensor
    draws: Sequence[Draws]


def shared_counts(asked: Sequence[Asked], batch: int, workers: int = 1) -> list[Int[Tensor, " k"]]:
    """The `hard_counts` of each, of one base classifier and one device.

    On a CPU, or where kinds differ, they are counted one after another. Another device starves on one input: all draws
    fill calls of the classifier of `batch` rows each, the last one with zeros. Every input has random numbers of its
    own, and every call is as large, so that what shares it changes no count. Errors as of `hard_counts`.
    """
    if asked[0].x.device.type == "cpu" or len({(it.x.shape, it.x.dtype) for it in asked}) > 1:
        return [hard_counts(smoothed, x, draws, workers) for smoothed, x, draws in asked]
    for it in asked:
        check_precision(it.x.dtype, "the input")
    with held(asked[0].smoothed.classifier):
        (found,) = on_single_cores(partial(_shared, batch=batch), [asked])
    return [*found[:, :-1].cpu()]


@torch.inference_mode()
def _shared(asked: Sequence[Asked], batch: int) -> Int[Tensor, "m k1"]:
    """The counts of each, and those of the votes for no class."""
    x = asked[0].x
    scales, grids = [it.smoothed.scale.to(x.device, x.dtype) for it in asked], _grids(asked)
    rows = x.new_zeros(2 * batch, *x.shape)  # room for those that wait, fewer than a call takes, and the next draws
    owners, waiting = list[tuple[int, int]](), 0  # whose the rows are that wait, and how many, in their order
    classes, total = None, x.new_zeros(0, dtype=torch.long)

    def answer() -> None:
        nonlocal classes, total, waiting
        logits = logits_of(asked[0].smoothed.classifier, rows[:batch], classes)
        if classes is None:
            classes = logits.shape[1]
            total = total.new_zeros((len(asked) + 1) * (classes + 1))  # the last: of rows that fill the last call
        places, sizes = torch.tensor(owners).to(x.device).unbind(dim=1)
        owner = torch.repeat_interleave(places, sizes, output_size=waiting)[:batch]
        tally(owner * (classes + 1) + votes(logits), total)
        waiting -= batch
        rows[:waiting] = rows[batch : batch + waiting]
        owners[:] = [(owners[-1][0], waiting)] if waiting else []

    for place, (it, scale, grid) in enumerate(zip(asked, scales, grids, strict=True)):
        center, family = owned(it.x).flatten(), it.smoothed.family
        center = center if grid is None else torch.zeros_like(center)
        for stream, size in it.draws:
            noise = rows[waiting : waiting + size].flatten(1)
            family.fill(noise, stream.generator(x.device))
            noisy = scale.perturb(center, noise)
            noise.copy_(noisy if grid is None else grid(noisy))
            owners.append((place, size))
            waiting += size
            if waiting >= batch:
                answer()
    if waiting:
        rows[waiting:batch] = 0
        owners.append((len(asked), batch - waiting))
        waiting = batch
        answer()
    return total.view(len(asked) + 1, -1)[:-1]


def _grids(asked: Sequence[Asked]) -> list[Grid | None]:
    """The grid around each input, if any: those of one G_C are made together, since a check waits for the device."""
    found, alike = list[Grid | None]([None] * len(asked)), dict[int, list[int]]()
    for place, it in enumerate(asked):
        alike.setdefault(id(it.smoothed), []).append(place)
    for places in alike.values():
        smoothed = asked[places[0]].smoothed
        if smoothed.grid is not None:
            x = torch.stack([asked[place].x.flatten() for place in places])
            grids = Grid(x, smoothed.scale.to(x.device, x.dtype), smoothed.grid).alone()
            for place, grid in zip(places, grids, strict=True):
                found[place] = grid
    return found


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
    classes, total = None, x.new_zeros((), dtype=torch.long)
    for several in _noisy(smoothed.family, x, scale, grid, draws):
        answers = []  # classes alone: a classifier may answer in the same memory again
        for rows in several:
            logits = logits_of(smoothed.classifier, rows.view(-1, *x.shape), classes)
            classes = logits.shape[1]
            answers.append(votes(logits))
        total = tally(torch.cat(answers), total if total.ndim else total.new_zeros((classes or 0) + 1))
    return total


def _noisy(
    family: Family, x: Float[Tensor, "*shape"], scale: Scale, grid: Grid | None, draws: Sequence[Draws]
) -> Iterator[Iterator[Float[Tensor, "n d"]]]:
    """x + B z of the draws, several micro-batches after another, which are overwritten by the next ones."""
    flat, largest = x.flatten(), max(size for _, size in draws)
    center = flat if grid is None else torch.zeros_like(flat)
    together = max(1, numbers_together(flat.device, NOISE) // (largest * flat.numel()))
    z = flat.new_empty(min(together, len(draws)) * largest, flat.numel())
    for start in range(0, len(draws), together):
        streams, sizes = zip(*draws[start : start + together], strict=True)
        noise = z[: sum(sizes)]
        for stream, rows in zip(streams, noise.split(sizes), strict=True):
            family.fill(rows, stream.generator(x.device))
        parts = scale.perturb(center, noise).split(sizes)
        yield iter(parts) if grid is None else map(grid, parts)  # one at a time: the core's cache holds it then
