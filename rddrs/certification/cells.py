"""The cells of a path: the radius that an anchor needs so that its region holds all of a cell (METHOD section 14).

Of a perturbation T, a cell [u, v] and an anchor y that is

    rho = max over sub-cells of ( |C^-1 (clip T_m(x) - y)| + |b| ) + what rounding and slack add,

m the middle of a sub-cell and b the bound of its variation, in the norm of C. Sub-cells are halved where they decide
rho. All is float64, and rounded upwards by more than its own error (`Ruler.up`).
"""

from collections.abc import Sequence
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from rddrs.noise import Diagonal, Norm, Scale, family_of
from rddrs.threats import Change, Perturbation
from rddrs.threats.change import Mean
from rddrs.threats.linear import Linear

Severities = tuple[float, ...]
"""One severity for each perturbation."""

TOLERANCE = 0.03
"""Sub-cells are halved until rho is known so well, in its own units."""

HALVINGS, FIRST = 8, {1: 8, 2: 4}
"""How often at most, and how many sub-cells a cell has at first, along each axis."""

ROWS = 1 << 23
"""Numbers of the images that are made at a time."""

ERROR = 1e-9
"""What is added to a length, relatively and absolutely, for rounding in float64; see `Ruler.up`."""


class Ruler:
    """Lengths in the norm of C."""

    def __init__(self, scale: Scale, norm: Norm) -> None:
        self._scale, self._family = scale, family_of(norm)

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
        if isinstance(self._scale, Diagonal):
            return self.length(bound)
        return self._family.norm(bound) / self._ball

    def lost(self, images: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """What the rounding of entries as large as these in float64 may add to a length, beyond what `up` adds."""
        least = self.most(torch.full_like(images[:1], 64 * torch.finfo(torch.float64).eps))
        return (images.abs().amax(dim=1) * least - ERROR).clamp_min(0)

    def up(self, length: Tensor) -> Tensor:
        """The length and more than its error in float64: 1e-9 + 8 d eps lambda_max / lambda_min of it, and 1e-9."""
        return length * (1 + self._relative) + ERROR


class Course:
    """One perturbation of an input, or two, the first applied first; images are clamped where `clamp` is given.

    Severities [n, q] have a column for each of the q perturbations. Raises ValueError where one is none for x.
    """

    def __init__(
        self,
        perturbations: Sequence[Perturbation],
        x: Float[Tensor, "*shape"],
        clamp: tuple[float, float] | None = None,
    ) -> None:
        self._perturbations, self._x, self._clamp = tuple(perturbations), x, clamp
        for it in self._perturbations:
            it.require(x.shape)
        first, *others = (it.function for it in self._perturbations)
        if others and not isinstance(others[0], Change):
            raise ValueError(f"{self._perturbations[1].name} cannot be applied second: it is no named perturbation")
        affine = not others or isinstance(others[0], Mean | Linear)  # in the image, at every severity
        linear = [isinstance(first, Linear) and affine, *(isinstance(it, Linear) for it in others)]
        self.straight = tuple(each and clamp is None for each in linear)
        """Of each perturbation, whether images lie on a straight line where its severity alone changes."""

    def points(self, severities: Float[Tensor, "n q"]) -> Float[Tensor, "n d"]:
        """clip(T_s(x)) for every row s, float64; raises ValueError where it is not finite."""
        images = self._x[None]
        for it, values in zip(self._perturbations, severities.T, strict=True):
            images = it.each(images, values)
        return self._clipped(images, severities)

    def cells(
        self, low: Float[Tensor, "n q"], high: Float[Tensor, "n q"]
    ) -> tuple[Float[Tensor, "n d"], list[Float[Tensor, "n d"]]]:
        """clip(T_m(x)), m the middle of every cell, and for each perturbation a bound, entry by entry, of what it adds.

        The sum of the bounds is at least |T_t(x) - T_m(x)| for all t in the cell; clamped, too: that is 1-Lipschitz.
        """
        first, *others = self._perturbations
        middle = (low + high) / 2
        images, bounds = first.points(self._x, middle[:, 0]), [first.variations(self._x, low[:, 0], high[:, 0])]
        for outer in others:
            inner, ends, change = images, (low[:, 1], high[:, 1]), outer.function
            assert isinstance(change, Change)
            images, bound = change.points(inner, middle[:, 1]), change.variations(inner, *ends)
            try:
                bounds = [change.carried(bounds[0], inner, *ends), bound]
            except NotImplementedError:
                raise ValueError(f"{outer.name} cannot be applied second: put it first") from None
        for each in bounds:
            if not (each >= 0).all():
                raise ValueError(f"{self._name}: the bound of its variation is negative or NaN")
        return self._clipped(images, middle), [each.flatten(1) for each in bounds]

    @property
    def _name(self) -> str:
        return "+".join(it.name for it in self._perturbations)

    def _clipped(self, images: Float[Tensor, "n *shape"], severities: Float[Tensor, "n q"]) -> Float[Tensor, "n d"]:
        points = images.flatten(1)
        finite = torch.isfinite(points).all(dim=1)
        if not finite.all():
            raise ValueError(
                f"{self._name} gives NaN or infinite entries at the severity {severities[~finite][0].tolist()}"
            )
        return points if self._clamp is None else points.clamp(*self._clamp)


def needed(
    course: Course,
    ruler: Ruler,
    low: Float[Tensor, "n q"],
    high: Float[Tensor, "n q"],
    anchors: Float[Tensor, "n d"],
    longest: float,
) -> Float[Tensor, " n"]:
    """For every cell the radius at its anchor that its region needs to hold it; infinite where that exceeds `longest`.

    Of cells whose bounds do not shrink it is what the bounds say.
    """
    count, axes = low.shape
    owner = torch.arange(count, device=low.device)
    for axis, straight in enumerate(course.straight):
        if straight:  # the distance is convex along it: largest at an end
            owner, low, high = _faces(owner, low, high, axis)
        else:
            owner, low, high = _split(owner, low, high, torch.full_like(owner, axis), FIRST[axes])
    reached, bound = (torch.zeros(count, dtype=torch.float64, device=low.device) for _ in range(2))
    for turn in range(HALVINGS + 1):
        far, spread = _distances(course, ruler, low, high, anchors, owner)
        upper = far + spread.sum(dim=0)
        reached = reached.scatter_reduce(0, owner, far, "amax")
        undecided = (upper > reached[owner] + TOLERANCE) & (reached[owner] <= longest) & (turn < HALVINGS)
        settled = ~undecided
        bound = bound.scatter_reduce(0, owner[settled], upper[settled], "amax")
        if not undecided.any():
            break
        axis = spread[:, undecided].argmax(dim=0)
        owner, low, high = _split(owner[undecided], low[undecided], high[undecided], axis, 2)
    return ruler.up(torch.where(reached > longest, torch.inf, bound))


def _faces(owner: Tensor, low: Tensor, high: Tensor, axis: int) -> tuple[Tensor, Tensor, Tensor]:
    """Every cell's two ends along an axis."""
    lower, upper = high.clone(), low.clone()
    lower[:, axis], upper[:, axis] = low[:, axis], high[:, axis]
    return owner.repeat(2), torch.cat([low, upper]), torch.cat([lower, high])


def _split(owner: Tensor, low: Tensor, high: Tensor, axis: Tensor, parts: int) -> tuple[Tensor, Tensor, Tensor]:
    """Every cell in equal parts along its axis."""
    owner, low, high = (each.repeat_interleave(parts, dim=0) for each in (owner, low, high))
    rows, axis = torch.arange(len(owner), device=owner.device), axis.repeat_interleave(parts)
    start, end, place = low[rows, axis], high[rows, axis], rows % parts
    low[rows, axis] = torch.where(place == 0, start, start + (end - start) * place / parts)
    high[rows, axis] = torch.where(place == parts - 1, end, start + (end - start) * (place + 1) / parts)
    return owner, low, high


def _distances(
    course: Course, ruler: Ruler, low: Tensor, high: Tensor, anchors: Float[Tensor, "n d"], owner: Tensor
) -> tuple[Float[Tensor, " m"], Float[Tensor, "q m"]]:
    """From the middle of every sub-cell to its anchor, and to the sub-cell's other points along each axis."""
    far, spread = [], []
    for rows in torch.arange(len(owner), device=owner.device).split(max(1, ROWS // anchors.shape[1])):
        middles, bounds = course.cells(low[rows], high[rows])
        far.append(ruler.length(middles - anchors[owner[rows]]) + ruler.lost(middles))
        spread.append(torch.stack([ruler.most(bound) for bound in bounds]))
    return torch.cat(far), torch.cat(spread, dim=1)
