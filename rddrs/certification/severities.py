"""Certified severities: up to which severity of a perturbation every image is in the region (METHOD sections 4.5, 13).

A cell [u, v] of severities is certified where a bound of |B^-1 (T_t(x) - x)| over it is below the radius.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from operator import itemgetter

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rddrs.certification.certify import Certificate
from rddrs.certification.lengths import Asked, along_chords, boxed, in_balls, reaches
from rddrs.certification.regions import SLACK, Range, Region
from rddrs.certification.searches import CELLS, Rows, Search, outwards, reach, together
from rddrs.threats import PERTURBATIONS, Change, Perturbation, check_range, stored
from rddrs.threats.convolution import Blurred
from rddrs.threats.interpolation import Moved

Key = tuple[int, int]
"""The place of a perturbation and a sign."""

Way = Callable[[Region, Sequence[Asked]], Tensor]
"""How severities are bounded."""

NUMBERS = 1 << 18
"""So many numbers of images, or those of two cells, are looked at together at most."""

TOGETHER = 4
"""So many severities of one sign are looked at together, where each is known to be worse than those before."""

STEPS, FINER = 400, 25
"""Where nothing is known between severities, (i / STEPS)^2 of the limit are tested, and twice so many between two."""


@dataclass(frozen=True)
class Severity:
    """Every severity in [low, high] is certified: low <= 0 <= high, and 0 of a perturbation with one sign alone.

    Both ends are 0, too, where not even the input is inside once it is clamped and rounded. Where it is not `proven`,
    severities in the interval were tested, those that were not may leave the region.
    """

    low: float
    high: float
    proven: bool = True
    two_sided: bool = True

    @property
    def size(self) -> float:
        """The severity that is certified of both signs, where there are two."""
        return min(-self.low, self.high) if self.two_sided else self.high


def certified_severity(
    certificate: Certificate,
    perturbation: Perturbation,
    *,
    clamp: Range | None = None,
    rounding: float | None = None,
) -> Severity:
    """The interval of severities, from 0 outwards, at every point of which the image lies in the certified region.

    The image is T_s(x), brought to the range `clamp`; with `rounding`, a step, it is both that image and the nearest
    one of multiples of the step, which a file holds. Proven for the whole interval, ends included, where the
    perturbation's variation has a bound; otherwise tested. Both ends are 0 for an abstention, and where x itself leaves
    the region as it is clamped or rounded; they are the limit where nothing up to it leaves the region. Raises
    ValueError where the perturbation is none for inputs of this shape or changes their shape, and for a range or a step
    that is none.
    """
    perturbation.require(certificate.x.shape)
    return certified_severities(certificate, (perturbation,), clamp=clamp, rounding=rounding)[perturbation.name]


def certified_severities(
    certificate: Certificate,
    perturbations: Sequence[Perturbation] = PERTURBATIONS,
    *,
    clamp: Range | None = None,
    rounding: float | None = None,
) -> dict[str, Severity]:
    """The certified severity of every perturbation that makes sense for the input, by name, which each has once."""
    check_range(clamp, rounding)
    chosen = [it for it in perturbations if it.applies(tuple(certificate.x.shape))]
    if len(names := [it.name for it in chosen]) > len({*names}):
        raise ValueError(f"perturbations: {', '.join(names)}: every name once")
    found: list[dict[int, float]] = [{} for _ in chosen]
    if certificate.radius > 0:
        for it in chosen:
            it.check(certificate.x)
        region, proven = Region(certificate, clamp, rounding), [it for it in chosen if it.bounded]
        many = max(1, NUMBERS // (16 * certificate.x.numel()))  # where images are small, it is the calls that cost
        ends = [each for first in range(0, len(proven), many) for each in _proven(region, proven[first : first + many])]
        found = [_tested(certificate, it, clamp, rounding) if not it.bounded else ends.pop(0) for it in chosen]
    return {
        it.name: Severity(-each.get(-1, 0.0) or 0.0, each.get(1, 0.0), it.bounded, it.two_sided)
        for it, each in zip(chosen, found, strict=True)
    }


def inside(
    certificate: Certificate,
    perturbation: Perturbation,
    severities: Float[Tensor, " n"],
    *,
    clamp: Range | None = None,
    rounding: float | None = None,
) -> Bool[Tensor, " n"]:
    """Whether the image at each severity, clamped, lies in the region, and with `rounding` the rounded one, too."""
    points = perturbation.points(certificate.x, severities)
    found = certificate.contains(stored(points, clamp))
    return found if rounding is None else found & certificate.contains(stored(points, clamp, rounding))


def _proven(region: Region, perturbations: Sequence[Perturbation]) -> list[dict[int, float]]:
    """Up to where severities of each are certified, by sign; all are looked at together."""
    radius, fitting = region.certificate.radius * (1 - SLACK), max(2, NUMBERS // region.x.numel())
    ways, searches = [], dict[Key, Search]()
    for place, it in enumerate(perturbations):
        way = _way(region, it)
        ways.append(way)
        if way is in_balls and region.ball(0.0) * region.up >= radius:
            continue  # rounding alone may leave the region: the balls of no cell are inside
        for sign in (1, -1) if it.two_sided else (1,):
            searches[place, sign] = _search(region, it, way, radius, fitting)

    def answers(asked: dict[Key, Rows]) -> dict[Key, Rows]:
        def chosen(key: Key) -> Way:
            return ways[key[0]] if len(asked[key]) == 2 else reaches

        found = dict[Key, Rows]()
        for way in {*map(chosen, asked)}:
            keys, parts = [key for key in asked if chosen(key) is way], []
            for place, same in groupby(keys, key=itemgetter(0)):
                rows = [
                    zip(*([sign * it for it in row] for row in asked[place, sign]), strict=True) for _, sign in same
                ]
                numbers = torch.tensor([*chain(*rows)], dtype=torch.float64).mT.to(region.x.device)
                parts.append((perturbations[place], numbers))
            if parts:
                bounds, first = (region.up * way(region, parts)).tolist(), 0
                for key in keys:
                    last = first + len(asked[key][0])
                    found[key], first = tuple(row[first:last] for row in bounds), last
        return found

    ends = together(searches, answers)
    return [{sign: ends[key] for key in ends if key[0] == place for sign in key[1:]} for place in range(len(ways))]


def _search(region: Region, perturbation: Perturbation, way: Way, radius: float, fitting: int) -> Search:
    """Of one sign: for cells, or for severities up to which all is between the two ends."""
    limit, change = float(perturbation.limit), perturbation.function
    if way is reaches:
        return (yield from reach(radius, limit, min(TOGETHER, fitting), region.jumps(perturbation)))
    if region.diagonal and isinstance(change, Change) and change.starts_straight:
        straight = min(1.0, limit)
        reached = yield from reach(radius, straight, min(TOGETHER, fitting))
        if reached < straight or reached == limit:
            return reached
    # Of entries that jump the excess is the root of the width: the more do in a cell, each by as much in any.
    steps = way is boxed or (region.rounding is not None and region.euclidean_ball is None)
    many = way is in_balls or (steps and not region.diagonal)
    order = 1 / 2 if many else 2 if way is along_chords else 1
    # A blur changes nothing at first and then much: its first severities are far from each other.
    far = isinstance(change, Blurred) and way is along_chords
    finest = 1 / 100 if way is in_balls else 1 / 2000 if many else 1 / 3000 if far else 1 / 1000
    most, middle, jumps = min(CELLS, fitting), way is not along_chords, region.jumps(perturbation)
    cells = outwards(radius, limit, most, order=order, finest=finest, middle=middle, far=far, jumps=jumps)
    return (yield from cells)


def _way(region: Region, perturbation: Perturbation) -> Way:
    """How the perturbation's severities are bounded."""
    change = perturbation.function
    if isinstance(change, Change):
        if region.diagonal and change.monotone:
            return reaches
        # Where C is diagonal, the corners of their boxes say as much of images that move as chords do, for less.
        if change.straight and not (region.diagonal and isinstance(change, Moved)):
            return along_chords
        if region.euclidean_ball is not None and change.in_balls:
            return in_balls
    return boxed


def _tested(
    certificate: Certificate, perturbation: Perturbation, clamp: Range | None, rounding: float | None
) -> dict[int, float]:
    """Up to where no tested severity leaves the region: limit (i / 400)^2, and 25 and 25 finer ones before the end."""
    return {
        sign: _last(
            lambda severities, sign=sign: inside(
                certificate, perturbation, torch.from_numpy(sign * severities), clamp=clamp, rounding=rounding
            ),
            perturbation.limit,
        )
        for sign in ((1, -1) if perturbation.two_sided else (1,))
    }


def _last(kept: Callable[[Float[np.ndarray, " n"]], Bool[Tensor, " n"]], limit: float) -> float:
    def first(severities: Float[np.ndarray, " n"]) -> int:
        """How many of them, from the first on, are kept."""
        return int(kept(severities).cpu().int().cumprod(dim=0).sum())

    reached = 0.0
    if not first(np.zeros(1)):
        return reached
    for tested in np.array_split(limit * (np.arange(1, STEPS + 1) / STEPS) ** 2, STEPS // FINER):
        count = first(tested)
        reached = float(tested[count - 1]) if count else reached
        if count < len(tested):
            break
    else:
        return reached
    for _ in range(2):
        tested = np.linspace(reached, tested[count], FINER + 1)[1:]
        count = min(first(tested), FINER - 1)  # the last was outside
        reached = float(tested[count - 1]) if count else reached
    return reached
