"""The cells of a path: the radius that an anchor needs so that its region holds all of a cell (METHOD section 14).

Of a perturbation T, a cell [u, v] and an anchor y that is at least |C^-1 (z - y)| for all its images z, clipped and,
entry by entry, rounded or not, or all of them rounded. A cell is made of sub-cells, and the images of each lie in a
box: those at its middle, and the bound of their variation, clipped and rounded, so that an entry that stays what it is
adds nothing. Along an axis where images lie on a straight line, but for what clipping cuts off, a norm is largest at an
end, and sub-cells may be long. They are halved where they decide the radius. All is float64, and rounded upwards by
more than its own error (`Ruler.up`).
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rddrs.noise import Diagonal, Isotropic, Norm, Scale, family_of
from rddrs.threats import Change, Perturbation
from rddrs.threats.change import Boxed, Mean
from rddrs.threats.interpolation import Moved
from rddrs.threats.linear import Added, Faded, Linear

Severities = tuple[float, ...]
"""One severity for each perturbation."""

TOLERANCE = 0.03
"""Sub-cells are halved until rho is known so well, in its own units."""

HALVINGS, FIRST = 8, {1: 8, 2: 4}
"""How often at most, and how many sub-cells a cell has at first, along each axis that is not straight."""

CACHED, BUSY = 1 << 17, 1 << 23
"""Numbers of the images that are made at a time: as many as a CPU has at hand, and as many as keep a GPU busy."""

TIE = 2.0**-20
"""Of rounded images alone an entry that is so near to half-way, in units of the image's largest, is counted as rounded
either way: an image that is made in float32 may have it so."""

ERROR, EPS = 1e-9, 64 * torch.finfo(torch.float64).eps
"""What is added to a length, relatively and absolutely, for rounding in float64 (see `Ruler.up`), and to an entry in
units of the image's largest."""


class Ruler:
    """Lengths in the norm of C."""

    def __init__(self, scale: Scale, norm: Norm) -> None:
        self._scale, self._family = scale, family_of(norm)
        self.diagonal = isinstance(scale, Isotropic | Diagonal)
        """Whether of every entry the size alone counts."""

    @cached_property
    def _ball(self) -> float:
        return self._family.ball(self._scale)

    @cached_property
    def _relative(self) -> float:
        spread = self._scale.norm / self._scale.eigenvalues[0].item()
        return ERROR + 8 * self._scale.dim * spread * torch.finfo(torch.float64).eps

    def length(self, delta: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """|C^-1 delta| of every row."""
        return self._family.length(delta, self._scale)

    def most(self, bound: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """At least |C^-1 delta| for every delta whose entries are within the bound's."""
        return self.length(bound) if self.diagonal else self._family.norm(bound) / self._ball

    def farthest(self, lower: Float[Tensor, "n d"], upper: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """At least |C^-1 delta| for every delta between the two, entry by entry."""
        if self.diagonal:
            return self.length(torch.maximum(-lower, upper))
        return self.length((lower + upper) / 2) + self.most((upper - lower) / 2)

    def up(self, length: Tensor) -> Tensor:
        """The length and more than its error in float64: 1e-9 + 8 d eps lambda_max / lambda_min of it, and 1e-9."""
        return length * (1 + self._relative) + ERROR


class Hull(NamedTuple):
    """What holds the images of sub-cells, clipped and, entry by entry, rounded or not, or all of them rounded.

    They are between `lower` and `upper`, and within `away` of a mean of the clipped `corners`, which are images, too,
    but for their rounding; `spreads` are what the sub-cell's width adds along each axis.
    """

    corners: Float[Tensor, "k n d"]
    lower: Float[Tensor, "n d"]
    upper: Float[Tensor, "n d"]
    away: Float[Tensor, "n d"]
    spreads: list[Float[Tensor, "n d"]]

    @property
    def middle(self) -> Float[Tensor, " d"]:
        """Half-way between the least and the most that each entry may be in all of them; 0 where nothing bounds it.

        An entry that is rounded up in one part of a cell, and down in another, is as far from there in either.
        """
        return ((self.lower.amin(dim=0) + self.upper.amax(dim=0)) / 2).nan_to_num(0.0, 0.0, 0.0)


class Course:
    """One perturbation of an input, or two, the first applied first; images are clamped where `clamp` is given.

    With a `rounding` each of their entries may be rounded to a multiple of it, and is where they are not `unrounded`.
    Severities [n, q] have a column for each of the q perturbations. Raises ValueError where one is none for x.
    """

    def __init__(
        self,
        perturbations: Sequence[Perturbation],
        x: Float[Tensor, "*shape"],
        clamp: tuple[float, float] | None = None,
        rounding: float | None = None,
        unrounded: bool = True,
    ) -> None:
        self._perturbations, self._x, self._clamp = tuple(perturbations), x, clamp
        self.rounding, self.unrounded = rounding, unrounded
        for it in self._perturbations:
            it.check(x)
        first, *others = (it.function for it in self._perturbations)
        if others and not isinstance(others[0], Change):
            raise ValueError(f"{self._perturbations[1].name} cannot be applied second: it is no named perturbation")
        # In the image, at every severity: a direction v(x) of a user's own may be any function of x.
        affine = not others or isinstance(others[0], Mean | Added | Faded)
        self.straight = (isinstance(first, Linear) and affine, *(isinstance(it, Linear) for it in others))
        """Of each perturbation, whether images, unclipped, lie on a straight line where its severity alone changes."""

    def points(self, severities: Float[Tensor, "n q"]) -> Float[Tensor, "n d"]:
        """clip(T_s(x)) for every row s, float64; raises ValueError where it is not finite."""
        images = self._x[None]
        for it, values in zip(self._perturbations, severities.T, strict=True):
            images = it.each(images, values)
        return self._clipped(self._finite(images, severities))

    def parts(self, low: Float[Tensor, "n q"], high: Float[Tensor, "n q"]) -> tuple[Tensor, Tensor, Tensor]:
        """The first sub-cells of every cell: the number of the cell that each is a part of, and its ends."""
        owner = torch.arange(len(low), device=low.device)
        for axis, straight in enumerate(self.straight):
            if not straight:
                owner, low, high = _split(owner, low, high, torch.full_like(owner, axis), FIRST[low.shape[1]])
        return owner, low, high

    def first(self, low: Float[Tensor, " q"], high: Float[Tensor, " q"]) -> Hull:
        """What holds the images of the first sub-cells of a cell, made alone: the last bits may decide a rounding."""
        _, *ends = self.parts(low[None], high[None])
        return self.hull(*ends)

    def hulls(self, low: Float[Tensor, "n q"], high: Float[Tensor, "n q"]) -> Iterator[Hull]:
        """What holds the images of all cells, so many of them at a time as are made fastest."""
        numbers = CACHED if low.device.type == "cpu" else BUSY
        for rows in torch.arange(len(low), device=low.device).split(max(1, numbers // self._x.numel())):
            yield self.hull(low[rows], high[rows])

    def hull(self, low: Float[Tensor, "n q"], high: Float[Tensor, "n q"]) -> Hull:
        """What holds the images of every cell."""
        ends = [(low, high)]
        for axis, straight in enumerate(self.straight):
            if straight:
                ends = [face for cell in ends for face in _faces(*cell, axis)]
        images, bounds = self._varied(*(torch.cat(each) for each in zip(*ends, strict=True)))
        images, *bounds = (each.view(len(ends), len(low), -1) for each in (images, *bounds))
        bounds, corners = [each.amax(dim=0) for each in bounds], self._clipped(images)
        beyond, within = (images - corners).abs().amax(dim=0), corners.amax(dim=0) - corners.amin(dim=0)
        cut, spreads, sides = _cut_off(beyond, within), [], corners.view(*[2] * sum(self.straight), *corners.shape[1:])
        for axis, bound in enumerate(bounds):
            if self.straight[axis]:
                way = sides.diff(dim=sum(self.straight[:axis])).abs().view(-1, *within.shape).amax(dim=0)
                bound = _cut_off(beyond, way)
            spreads.append(bound)
        largest = images.abs().amax(dim=(0, 2))[:, None]
        away = sum(bounds, EPS * largest)
        lower, upper = self._clipped(images.amin(dim=0) - away), self._clipped(images.amax(dim=0) + away)
        if self.rounding is None:
            return Hull(corners, lower, upper, away + cut, spreads)
        # What is half-way between two multiples, as an end of the range may be, is rounded to either.
        tie = 0.0 if self.unrounded else TIE * largest
        half = self.rounding / 2 + EPS * torch.maximum(lower.abs(), upper.abs()) + tie
        least, most = (
            ((lower - half) / self.rounding).ceil() * self.rounding,
            ((upper + half) / self.rounding).floor() * self.rounding,
        )
        off = torch.where(
            least == most, torch.maximum(most - lower, upper - most).clamp_min(0), self.rounding / 2 + tie
        )
        if self.unrounded:
            least, most = torch.minimum(lower, least), torch.maximum(upper, most)
        else:
            grown = ((most - least) / 2 / away.clamp_min(torch.finfo(away.dtype).tiny)).clamp_min(1)
            spreads = [grown * spread for spread in spreads]
        return Hull(corners, least, most, away + cut + off, spreads)

    def known(self, hull: Hull, places: Float[Tensor, "n d"]) -> Float[Tensor, "k n d"]:
        """An image for every corner; of what may be rounded or not each entry that which is farther from a place."""
        if self.rounding is None:
            return hull.corners
        rounded = self.rounding * (hull.corners / self.rounding).round()
        farther = (rounded - places).abs() > (hull.corners - places).abs()
        return torch.where(farther, rounded, hull.corners) if self.unrounded else rounded

    def _varied(
        self, low: Float[Tensor, "n q"], high: Float[Tensor, "n q"]
    ) -> tuple[Float[Tensor, "n d"], list[Float[Tensor, "n d"]]]:
        """T_m(x), m the middle of every cell, and for each perturbation a bound, entry by entry, of what it adds.

        The sum of the bounds is at least |T_t(x) - T_m(x)| for all t in the cell; clipped, too: that is 1-Lipschitz.
        """
        middle = (low + high) / 2
        images, *bounds = self._varied_first(low[:, 0], high[:, 0])
        for outer in self._perturbations[1:]:
            inner, ends, change = images, (low[:, 1], high[:, 1]), outer.function
            assert isinstance(change, Change)
            images = change.points(inner, middle[:, 1])
            bound = _beyond(images, change, inner, *ends)
            try:
                bounds = [change.carried(bounds[0], inner, *ends), bound]
            except NotImplementedError:
                raise ValueError(f"{outer.name} cannot be applied second: put it first") from None
        for each in bounds:
            if not (each >= 0).all():
                raise ValueError(f"{self._name}: the bound of its variation is negative or NaN")
        return self._finite(images, middle), [each.flatten(1) for each in bounds]

    def _varied_first(self, low: Float[Tensor, " n"], high: Float[Tensor, " n"]) -> tuple[Tensor, Tensor]:
        """The image at the middle of every cell of the first perturbation, and the bound of what it varies by there.

        Cells of a box often share their part of its first side: of what moves the image each is looked at once.
        """
        first, places = self._perturbations[0], None
        if len(self._perturbations) > 1 and isinstance(first.function, Moved):
            (low, high), places = torch.stack([low, high]).unique(dim=1, return_inverse=True)
        images = first.points(self._x, (low + high) / 2)
        bounds = _beyond(images, first, self._x, low, high)
        return (images, bounds) if places is None else (images[places], bounds[places])

    @property
    def _name(self) -> str:
        return "+".join(it.name for it in self._perturbations)

    def _clipped(self, points: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        return points if self._clamp is None else points.clamp(*self._clamp)

    def _finite(self, images: Float[Tensor, "n *shape"], severities: Float[Tensor, "n q"]) -> Float[Tensor, "n d"]:
        points = images.flatten(1)
        finite = torch.isfinite(points).all(dim=1)
        if not finite.all():
            raise ValueError(
                f"{self._name} gives NaN or infinite entries at the severity {severities[~finite][0].tolist()}"
            )
        return points


def needed(
    course: Course,
    ruler: Ruler,
    low: Float[Tensor, "n q"],
    high: Float[Tensor, "n q"],
    anchors: Float[Tensor, "n d"],
    longest: float,
    first: Iterable[Hull] | None = None,
    *,
    claimed: Float[Tensor, " n"] | None = None,
) -> Float[Tensor, " n"]:
    """For every cell the radius at its anchor that its region needs to hold it; infinite where that exceeds `longest`.

    Of cells whose bounds do not shrink it is what the bounds say. `first` are the hulls of the cells' first sub-cells,
    where they are made already. Of a `claimed` radius it is found whether it is large enough, and not how much less is.
    """
    tolerance = TOLERANCE if claimed is None else 0.0
    owner, low, high = course.parts(low, high)
    hulls = first or course.hulls(low, high)
    bound = torch.zeros(len(anchors), dtype=torch.float64, device=low.device)
    reached = bound if claimed is None else claimed
    for turn in range(HALVINGS + 1):
        near, far, spread = _distances(course, ruler, hulls, anchors, owner)
        reached = reached.scatter_reduce(0, owner, near, "amax")
        undecided = (far > reached[owner] + tolerance) & (spread.sum(dim=0) > TOLERANCE)
        undecided &= (reached[owner] <= longest) & (turn < HALVINGS)
        settled = ~undecided
        bound = bound.scatter_reduce(0, owner[settled], far[settled], "amax")
        if not undecided.any():
            break
        axis = spread[:, undecided].argmax(dim=0)
        owner, low, high = _split(owner[undecided], low[undecided], high[undecided], axis, 2)
        hulls = course.hulls(low, high)
    return ruler.up(torch.where(reached > longest, torch.inf, bound))


def _distances(
    course: Course, ruler: Ruler, hulls: Iterable[Hull], anchors: Float[Tensor, "n d"], owner: Int[Tensor, " m"]
) -> tuple[Float[Tensor, " m"], Float[Tensor, " m"], Float[Tensor, "q m"]]:
    """Of every sub-cell how far a known image is from the anchor, how far any is, and what each width adds to that."""
    near, far, spread, done = [], [], [], 0
    for hull in hulls:
        places = anchors[owner[done : (done := done + len(hull.lower))]]
        known = course.known(hull, places)
        near.append(_farthest(ruler, known, places))
        ends = near[-1] if known is hull.corners else _farthest(ruler, hull.corners, places)
        around = ends + ruler.most(hull.away)
        boxed = ruler.diagonal or len(hull.corners) == 1 or not course.unrounded
        far.append(torch.fmin(around, ruler.farthest(hull.lower - places, hull.upper - places)) if boxed else around)
        spread.append(torch.stack([ruler.most(each) for each in hull.spreads]))
    return torch.cat(near), torch.cat(far), torch.cat(spread, dim=1)


def _farthest(ruler: Ruler, images: Float[Tensor, "k n d"], places: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    return torch.stack([ruler.length(image - places) for image in images]).amax(dim=0)


def _beyond(images: Tensor, it: Perturbation | Change, x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The bound of what a change of x varies by in every cell from its image at the middle."""
    if isinstance(it if isinstance(it, Change) else it.function, Boxed):  # whose own would make the images once more
        least, most = it.boxes(x, low, high)
        return torch.maximum(most - images, images - least)
    return it.variations(x, low, high)


def _faces(low: Tensor, high: Tensor, axis: int) -> list[tuple[Tensor, Tensor]]:
    """Every cell's two faces across an axis."""
    at = torch.arange(low.shape[1], device=low.device) == axis
    return [(torch.where(at, end, low), torch.where(at, end, high)) for end in (low, high)]


def _cut_off(beyond: Tensor, within: Tensor) -> Tensor:
    """How far a clipped mean of numbers is from the mean of the clipped ones, at most.

    They are at most so far `beyond` the range, and clipped so far from each other: of those beyond an end the share w
    moves the mean by w of the one, and the others leave (1 - w) of the other for that.
    """
    return beyond * within / (beyond + within).clamp_min(torch.finfo(within.dtype).tiny)


def _split(owner: Tensor, low: Tensor, high: Tensor, axis: Tensor, parts: int) -> tuple[Tensor, Tensor, Tensor]:
    """Every cell in equal parts along its axis."""
    owner, low, high = (each.repeat_interleave(parts, dim=0) for each in (owner, low, high))
    rows, axis = torch.arange(len(owner), device=owner.device), axis.repeat_interleave(parts)
    start, end, place = low[rows, axis], high[rows, axis], rows % parts
    low[rows, axis] = torch.where(place == 0, start, start + (end - start) * place / parts)
    high[rows, axis] = torch.where(place == parts - 1, end, start + (end - start) * (place + 1) / parts)
    return owner, low, high
