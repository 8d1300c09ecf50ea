"""Certified severities: up to which severity of a perturbation every image is in the region (METHOD sections 4.5, 13).

A cell [u, v] of severities is certified where a bound of |B^-1 (T_t(x) - x)| over it is below the radius. Where C is
diagonal and entries never turn back, cells begin at 0, and the corner of the box of both ends is farthest; where images
hardly leave the chord from T_u(x) to T_v(x), one of its ends is, but for the bend; others lie in the box of the cell,
or in a ball. Clamped and rounded as the image is, entry by entry.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, groupby
from operator import itemgetter

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rddrs.certification.certify import Certificate
from rddrs.certification.searches import CELLS, Rows, Search, outwards, reach, together
from rddrs.noise import Diagonal, Isotropic
from rddrs.threats import PERTURBATIONS, Change, Perturbation, stored

Range = tuple[float, float]
Key = tuple[int, int]
"""The place of a perturbation and a sign."""

Asked = tuple[Perturbation, Tensor]
"""Severities [1, n] of a perturbation, or the two ends of cells [2, n], the one that is nearer to 0 first."""

SLACK = 1e-10
"""What float64 may be wrong by, in units of the largest entry and one, and of a radius."""

NUMBERS = 1 << 18
"""So many numbers of images, or those of two cells, are looked at together at most."""

TOGETHER = 4
"""So many severities of one sign are looked at together, where each is known to be worse than those before."""

STEPS, FINER = 400, 25
"""Where nothing is known between severities, (i / STEPS)^2 of the limit are tested, and twice so many between two."""


@dataclass(frozen=True)
class Severity:
    """Every severity in [low, high] is certified: low <= 0 <= high, and 0 of a perturbation with one sign alone.

    Where it is not `proven`, severities in the interval were tested, those that were not may leave the region.
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
    """The certified severity of every perturbation that makes sense for the input, by name."""
    check_range(clamp, rounding)
    chosen = [it for it in perturbations if it.applies(tuple(certificate.x.shape))]
    found: list[dict[int, float]] = [{} for _ in chosen]
    if certificate.radius > 0:
        region, proven = _Region(certificate, clamp, rounding), [it for it in chosen if it.bounded]
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


def check_range(clamp: Range | None, rounding: float | None) -> None:
    """Raises ValueError where they are no range of values and no step."""
    if clamp is not None and not (len(clamp) == 2 and -np.inf < clamp[0] < clamp[1] < np.inf):
        raise ValueError(f"clamp={clamp}: a lower and a larger value are needed, (0, 1), or None")
    if rounding is not None and not 0 < rounding < np.inf:
        raise ValueError(f"rounding={rounding}: a positive step is needed, 1/255, or None")


@dataclass(frozen=True)
class _Region:
    """A certified region, and how images are stored."""

    certificate: Certificate
    clamp: Range | None
    rounding: float | None

    @cached_property
    def x(self) -> Float[Tensor, "*shape"]:
        """The input, float64."""
        return self.certificate.x.double()

    @cached_property
    def slack(self) -> float:
        return SLACK * (1 + float(self.x.abs().max()))

    @cached_property
    def up(self) -> float:
        """What a computed length is multiplied with, for rounding in float64."""
        return 1 + self.certificate.scale.rounding

    @cached_property
    def diagonal(self) -> bool:
        return isinstance(self.certificate.scale, Isotropic | Diagonal)

    @cached_property
    def _ball(self) -> float:
        return self.certificate.family.ball(self.certificate.scale)

    @cached_property
    def euclidean_ball(self) -> float | None:
        """The radius of the largest ball of l2 inside |B^-1 delta| <= 1, where it is known."""
        return self.certificate.family.euclidean_ball(self.certificate.scale)

    @cached_property
    def _rounded(self) -> float:
        """What rounding adds to a length at most."""
        half = torch.full_like(self.x[None], (self.rounding or 0.0) / 2 + self.slack)
        return float(self.spread(half))

    def stored(self, points: Float[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
        """Clamped, but not rounded."""
        return stored(points, self.clamp)

    def length(self, delta: Float[Tensor, "n *shape"]) -> Float[Tensor, " n"]:
        """|B^-1 delta|."""
        return self.certificate.family.length(delta.flatten(1), self.certificate.scale)

    def spread(self, bound: Float[Tensor, "n *shape"]) -> Float[Tensor, " n"]:
        """At least |B^-1 delta| for every delta whose entries are within the bound's."""
        if self.diagonal:
            return self.length(bound)
        return self.certificate.family.norm(bound.flatten(1)) / self._ball

    def ball(self, spread: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """At least |B^-1 delta| for every |delta|_2 <= spread, which is rounded or not."""
        assert self.euclidean_ball is not None
        size = math.sqrt(self.x.numel())
        return (spread + (self.slack + (self.rounding or 0.0) / 2) * size) / self.euclidean_ball

    def longest(self, box: tuple[Float[Tensor, "n *shape"], Float[Tensor, "n *shape"]]) -> Float[Tensor, " n"]:
        """A bound of |B^-1 (x' - x)| over the points x' of every box."""
        lower, upper = (end - self.x for end in box)
        if self.diagonal:  # the corner with the largest sizes
            return self.length(torch.maximum(-lower, upper))
        return self.length((lower + upper) / 2) + self.spread((upper - lower) / 2)

    def also_rounded(
        self,
        most: Float[Tensor, " n"],
        longest: Callable[[tuple[Tensor, Tensor]], Tensor],
        lower: Float[Tensor, "n *shape"],
        upper: Float[Tensor, "n *shape"] | None = None,
    ) -> Float[Tensor, " n"]:
        """Of points between these ends the bound, and what is `longest` after they are rounded where that decides."""
        if self.rounding is None:
            return most
        radius = self.certificate.radius
        asked = (most < radius) & (most + self._rounded >= radius * (1 - SLACK) / self.up)
        if not asked.any():
            return most
        lower = lower[asked]
        ends = (lower - self.slack, lower + self.slack) if upper is None else (lower, upper[asked])
        found = longest((stored(ends[0], rounding=self.rounding), stored(ends[1], rounding=self.rounding)))
        return most.index_put((asked,), torch.maximum(most[asked], found))


def _reaches(region: _Region, asked: Sequence[Asked]) -> Float[Tensor, "1 n"]:
    """A bound of |B^-1 delta| from 0 to every severity, where C is diagonal and no entry ever turns back.

    No entry is then farther from x than at one of the two ends.
    """
    x, start = region.x, region.stored(region.x)
    points = region.stored(torch.cat([it.points(x, severities) for it, (severities,) in asked]))

    def longest(*ends: Tensor) -> Float[Tensor, " n"]:
        away = (ends[0] - x).abs_()
        for end in ends[1:]:
            torch.maximum(away, (end - x).abs_(), out=away)
        return region.length(away.add_(region.slack))

    most = longest(points) if torch.equal(start, x) else longest(points, start)
    return region.also_rounded(most, lambda rows: longest(*rows, stored(start, rounding=region.rounding)), points)[None]


def _straight(region: _Region, asked: Sequence[Asked]) -> Float[Tensor, "2 n"]:
    """A bound of |B^-1 delta| over every cell, and the length at its far end, where images hardly leave their chords.

    A norm is on a chord largest at an end.
    """
    x, points, bends, places, count = region.x, [], [], [], 0
    for it, cells in asked:
        ends, place = cells.unique(return_inverse=True)
        points.append(it.points(x, ends))
        bends.append(it.bends(x, cells.amin(dim=0), cells.amax(dim=0)))
        places.append(place + count)
        count += len(ends)
    points, bends, places = torch.cat(points), torch.cat(bends) + region.slack, torch.cat(places, dim=1)
    held = region.stored(points)
    lengths = region.length(held - x)[places]
    first, last = held[places]
    away, most = bends, lengths.amax(dim=0)
    if region.clamp is not None:  # where a chord is cut it has a bend: a share of what is cut off
        inner, outer = (last - first).abs(), (points - held).abs()[places].sum(dim=0)
        away = away + inner * outer / (inner + outer).clamp_min(torch.finfo(inner.dtype).tiny)
    most = most + region.spread(away)
    if region.rounding is not None:
        lower, upper = torch.minimum(first, last) - bends, torch.maximum(first, last) + bends
        most = region.also_rounded(most, region.longest, region.stored(lower), region.stored(upper))
    return torch.stack([most, lengths[1]])


def _boxed(region: _Region, asked: Sequence[Asked]) -> Float[Tensor, "2 n"]:
    """A bound of |B^-1 delta| over every cell, and the length of the middle of its box of displacements delta."""
    x, boxes = region.x, []
    for it, cells in asked:
        lower, upper = it.boxes(x, cells.amin(dim=0), cells.amax(dim=0))
        boxes.append((region.stored(lower - region.slack), region.stored(upper + region.slack)))
    lower, upper = (torch.cat(ends) for ends in zip(*boxes, strict=True))
    centre = region.length((lower + upper) / 2 - x)
    most = region.longest((lower, upper)) if region.diagonal else centre + region.spread((upper - lower) / 2)
    return torch.stack([region.also_rounded(most, region.longest, lower, upper), centre])


def _in_balls(region: _Region, asked: Sequence[Asked]) -> Float[Tensor, "2 n"]:
    """As `_boxed`, where more is known of all entries together than of each."""
    found = []
    for it, cells in asked:
        centres, radii = it.balls(region.x, cells.amin(dim=0), cells.amax(dim=0))
        length = region.length(region.stored(centres) - region.x)
        found.append(torch.stack([length + region.ball(radii), length]))
    return torch.cat(found, dim=1)


def _proven(region: _Region, perturbations: Sequence[Perturbation]) -> list[dict[int, float]]:
    """Up to where severities of each are certified, by sign; all are looked at together."""
    radius, fitting = region.certificate.radius * (1 - SLACK), max(2, NUMBERS // region.x.numel())
    ways, searches = [], dict[Key, Search]()
    for place, it in enumerate(perturbations):
        way = _way(region, it)
        ways.append(way)
        for sign in (1, -1) if it.two_sided else (1,):
            if way is _reaches:
                searches[place, sign] = reach(radius, float(it.limit), min(TOGETHER, fitting))
                continue
            # Of entries that jump the excess is the root of the width: the more do in a cell, each by as much in any.
            jumps = way is _in_balls or (region.rounding is not None and not region.diagonal)
            order = 1 / 2 if jumps else 2 if way is _straight else 1
            finest = 1 / 100 if way is _in_balls else 1 / 2000 if jumps else 1 / 1000
            searches[place, sign] = outwards(
                radius, float(it.limit), min(CELLS, fitting), order=order, finest=finest, middle=way is not _straight
            )

    def answers(asked: dict[Key, Rows]) -> dict[Key, Rows]:
        found = dict[Key, Rows]()
        for way in {*ways}:
            keys, parts = [key for key in asked if ways[key[0]] is way], []
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


def _way(region: _Region, perturbation: Perturbation) -> Callable[[_Region, Sequence[Asked]], Tensor]:
    """How the perturbation's severities are bounded."""
    change = perturbation.function
    if isinstance(change, Change):
        if region.diagonal and change.monotone:
            return _reaches
        if change.straight:
            return _straight
        if region.euclidean_ball is not None and change.in_balls:
            return _in_balls
    return _boxed


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
