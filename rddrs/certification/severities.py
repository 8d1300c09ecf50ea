"""Certified severities: up to which severity of a perturbation every image is in the region (METHOD sections 4.5, 13).

A cell [u, v] of severities with the middle m is certified where a bound of |B^-1 (T_t(x) - x)| over it is below the
radius: T_t(x) lies in the box of T_m(x) and its variation, clamped and rounded as the image is, entry by entry.
"""

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rddrs.certification.certify import Certificate
from rddrs.noise import Diagonal, Isotropic
from rddrs.threats import PERTURBATIONS, Perturbation, stored

Range = tuple[float, float]

SLACK = 1e-10
"""What float64 may be wrong by, in units of the largest entry and one, and of a radius."""

NEAR = 1e-3
"""The search ends where it can gain no more than this share."""

FIRST, ROUNDS, CELLS = 1 / 64, 60, 24
"""The width of the first cell, in limits; how often cells are looked at, and how many together at most."""

NUMBERS = 1 << 18
"""So many numbers of images, or those of two cells, are looked at together at most."""

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
    perturbation's variation has a bound; otherwise tested. Both ends are 0 for an abstention, and the limit where
    nothing up to it leaves the region. Raises ValueError where the perturbation is none for inputs of this shape or
    changes their shape, and for a range or a step that is none.
    """
    perturbation.require(certificate.x.shape)
    check_range(clamp, rounding)
    ends: dict[int, float] = {}
    if certificate.radius > 0:
        search = _proven if perturbation.bounded else _tested
        ends = search(certificate, perturbation, clamp, rounding)
    low, high = -ends.get(-1, 0.0) or 0.0, ends.get(1, 0.0)
    return Severity(low, high, proven=perturbation.bounded, two_sided=perturbation.two_sided)


def certified_severities(
    certificate: Certificate,
    perturbations: Sequence[Perturbation] = PERTURBATIONS,
    *,
    clamp: Range | None = None,
    rounding: float | None = None,
) -> dict[str, Severity]:
    """The certified severity of every perturbation that makes sense for the input, by name."""
    chosen = [it for it in perturbations if it.applies(tuple(certificate.x.shape))]
    return {it.name: certified_severity(certificate, it, clamp=clamp, rounding=rounding) for it in chosen}


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


def _lengths(
    certificate: Certificate,
    perturbation: Perturbation,
    low: Float[Tensor, " n"],
    high: Float[Tensor, " n"],
    clamp: Range | None,
    rounding: float | None,
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """A bound of |B^-1 delta| over every cell, and the length of the middle of its box of displacements delta."""
    x, scale, family = certificate.x.double(), certificate.scale, certificate.family
    slack = SLACK * (1 + float(x.abs().max()))
    ball = family.euclidean_ball(scale)
    if ball is not None and (spread := perturbation.spreads(x, low, high)) is not None:
        middle = stored(perturbation.points(x, (low + high) / 2), clamp) - x
        centre, rounded = family.length(middle.flatten(1), scale), 0.0 if rounding is None else rounding / 2
        return centre + (spread + (slack + rounded) * math.sqrt(scale.dim)) / ball, centre
    lower, upper = perturbation.boxes(x, low, high)
    box = stored(lower - slack, clamp), stored(upper + slack, clamp)
    found, centre = _longest(certificate, *box)
    if rounding is not None:
        rounded, _ = _longest(certificate, *(stored(end, rounding=rounding) for end in box))
        found = torch.maximum(found, rounded)
    return found, centre


def _longest(
    certificate: Certificate, lower: Float[Tensor, "n *shape"], upper: Float[Tensor, "n *shape"]
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """A bound of |B^-1 (x' - x)| over the points x' of every box, and the length at its centre."""
    x, scale, family = certificate.x.double(), certificate.scale, certificate.family
    lower, upper = (lower - x).flatten(1), (upper - x).flatten(1)
    centre = family.length((lower + upper) / 2, scale)
    if isinstance(scale, Isotropic | Diagonal):  # the corner with the largest sizes
        return family.length(torch.maximum(-lower, upper), scale), centre
    return centre + family.norm((upper - lower) / 2) / family.ball(scale), centre


def _proven(
    certificate: Certificate, perturbation: Perturbation, clamp: Range | None, rounding: float | None
) -> dict[int, float]:
    """Up to where cells, one after the other from 0 on, are certified, by sign; both signs are looked at together."""
    radius, together = certificate.radius * (1 - SLACK), max(2, min(CELLS, NUMBERS // certificate.x.numel()))
    signs: tuple[int, ...] = (1, -1) if perturbation.two_sided else (1,)
    searches = {sign: _outwards(radius, float(perturbation.limit), together) for sign in signs}
    asked = {sign: next(search) for sign, search in searches.items()}
    found: dict[int, float] = {}
    while asked:
        low, high = (
            torch.from_numpy(np.concatenate([sign * ends[part] for sign, ends in asked.items()]))
            for part in (slice(None, -1), slice(1, None))
        )
        least, last = (it.to(certificate.x.device) for it in (torch.minimum(low, high), torch.maximum(low, high)))
        most, centre = _lengths(certificate, perturbation, least, last, clamp, rounding)
        most, centre = (most * (1 + certificate.scale.rounding)).cpu().numpy(), centre.cpu().numpy()
        for sign, ends in list(asked.items()):
            count = len(ends) - 1
            try:
                asked[sign] = searches[sign].send((most[:count], centre[:count]))
            except StopIteration as reached:
                found[sign] = reached.value
                del asked[sign]
            most, centre = most[count:], centre[count:]
    return found


def _outwards(
    radius: float, limit: float, together: int
) -> Generator[Float[np.ndarray, " k"], tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]], float]:
    """A search from 0 to where cells are certified no more: yields their ends, gets their bounds and the middles'."""
    reached, length, width, ratio, count, wall = 0.0, 0.0, FIRST * limit, 1.0, 2, math.inf
    for _ in range(ROUNDS):
        ends = np.unique(np.minimum(reached + np.cumsum([0.0, *(width * ratio ** np.arange(count))]), limit))
        most, middle = yield ends
        certified = int(np.cumprod(most < radius).sum())
        if ends[certified] == limit or (certified == 0 and ends[1] <= max(reached * (1 + 2 * NEAR), 2e-9 * limit)):
            return float(ends[certified])
        # From the last cell that was looked at: how fast the length grows, and how much faster its bound.
        last = min(certified, len(most) - 1)
        at, half = (ends[last] + ends[last + 1]) / 2, (ends[last + 1] - ends[last]) / 2
        before = ((ends[last - 1] + ends[last]) / 2, middle[last - 1]) if last else (reached, length)
        speed = max(0.0, (middle[last] - before[1]) / (at - before[0]))
        rise = max(0.0, (most[last] - middle[last]) / half)
        reached, wall = float(ends[certified]), float(ends[certified + 1]) if certified < len(most) else wall
        length = middle[last] + speed * (reached - at)
        room = max(0.0, radius - length)
        widest = min(2 * room / (speed + rise), limit) if speed + rise > 0 else limit
        width = min(0.9 * widest, 64 * half if certified == len(most) else half / 2)
        if reached < wall:  # where a cell was not certified, only smaller ones may be
            if wall - reached <= NEAR * reached:
                break
            width = min(width, (wall - reached) / 4)
        # Cells shrink as the room does, down to where there is nearly none: few of them, or many of about one width.
        ratio = min(1.0, max(0.1, 1 - width * speed / room)) if room > 0 else 0.1
        count = min(together, math.ceil(math.log(NEAR, ratio))) if ratio < 1 else together
        if width <= (least := max(NEAR * reached, 1e-9 * limit)):
            if certified == len(most):
                break
            width, ratio, count = least, 1.0, 2
    return reached


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
