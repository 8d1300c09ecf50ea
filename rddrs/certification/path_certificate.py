"""The certificate of a path: what it says, the tests that prove it, and all that is needed to make them again."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rddrs.certification.cells import Course, Ruler, Severities
from rddrs.certification.certify import check_points
from rddrs.certification.terms import ABSTAIN
from rddrs.certification.trees import anchors_of, images_of, placed
from rddrs.noise import Family, Norm, Scale, family_of, owned
from rddrs.rounding import round_down
from rddrs.smoothing import Decision
from rddrs.threats import Perturbation

PathStatus = Literal["complete", "unproven", "budget", "cells"]
"""Why a path ends: at the ends that were asked for, at a cell that cannot be proven, with its budget of draws, or since
it has more cells than that can prove."""


@dataclass(frozen=True)
class Cell:
    """A test of a path: does G_C answer the class at the cell's anchor above the probability of rho?

    `order` is the test's number k, from 1, and `alpha` its level, a part of the path's; those of one `wave` were asked
    at the same time. `yes` proves that the answer is the class at every point of the cell: of a path without its
    regions of what lies between its ends alone, together.
    """

    low: Severities
    high: Severities
    rho: float
    alpha: float
    order: int
    wave: int
    counts: tuple[int, ...]
    samples: int
    decision: Decision

    @property
    def proven(self) -> bool:
        return self.decision == "yes"

    @property
    def middle(self) -> Severities:
        """The severities in the middle of the cell."""
        return tuple((low + high) / 2 for low, high in zip(self.low, self.high, strict=True))


RULES = 3
"""The number of the rules by which the cells of paths of rounded images are found."""


@dataclass(frozen=True, eq=False)
class PathCertificate:
    """G_C answers `prediction` at clip(T_t(x)) + delta for all t from `low` to `high` and |C^-1 delta| < `slack`.

    At confidence 1 - alpha, for the whole path together. `clamp` are the ends of the range that images are clipped to;
    with a `rounding`, a step h, every entry of them may be rounded to a multiple of h; where the path is not of the
    `unrounded` ones, too, it is of those alone of which every entry is. Without a rounding the anchor of a cell is the
    image at its middle, with one the middle of its images, entry by entry. `rules` number how cells of rounded images
    are found: 3 since version 0.21.0, 2 in 0.20.0, and 1 before, where the anchor is the image, too. With its `regions`
    G_C answers `prediction` in the region of every proven anchor, too; without them the path alone is claimed. Of two
    perturbations, the first applied first, `low`, `high` and what was `asked` are pairs, and the path is the box
    between them. `prediction` is -1, and both ends are 0, where nothing is certified. `status` says why it ends where
    it ends. `cells` are all tests in their order, proven or not, each of at most `test_samples` draws, and all of
    `budget`; `needed` are about as many draws as a box that was given up for that takes at least, else 0. With seed,
    index and the micro-batch `batch` all draws can be made again.
    """

    x: Float[Tensor, "*shape"]
    scale: Scale
    perturbations: tuple[Perturbation, ...]
    prediction: int
    low: float | Severities
    high: float | Severities
    asked: tuple[float, float] | tuple[Severities, Severities]
    cells: tuple[Cell, ...] = field(repr=False)
    selection_counts: tuple[int, ...]
    status: PathStatus = field(kw_only=True)
    alpha: float = field(kw_only=True)
    slack: float = field(kw_only=True)
    clamp: tuple[float, float] | None = field(kw_only=True)
    rounding: float | None = field(kw_only=True)
    unrounded: bool = field(default=True, kw_only=True)
    regions: bool = field(default=True, kw_only=True)
    rules: int = field(default=RULES, kw_only=True)
    test_samples: int = field(kw_only=True)
    budget: int = field(kw_only=True)
    needed: int = field(default=0, kw_only=True)
    selection_samples: int = field(kw_only=True)
    seed: int = field(kw_only=True)
    index: int = field(kw_only=True)
    batch: int = field(kw_only=True)
    norm: Norm = field(default="l2", kw_only=True)
    grid: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "x", owned(self.x))

    @property
    def name(self) -> str:
        """The perturbations' names: "rotation+brightness" of two."""
        return "+".join(it.name for it in self.perturbations)

    @property
    def family(self) -> Family:
        """The family of the noise."""
        return family_of(self.norm)

    @property
    def samples(self) -> int:
        """The draws that were spent: on the class and on all tests."""
        return self.selection_samples + sum(cell.samples for cell in self.cells)

    @property
    def complete(self) -> bool:
        """Whether all that was asked for is certified."""
        return self.prediction != ABSTAIN and (self.low, self.high) == self.asked

    def covers(self, severity: float | Sequence[float]) -> bool:
        """Whether the path reaches over a severity, or over a pair of them; raises ValueError for another number."""
        values = severities_of(severity)
        if len(values) != len(self.perturbations):
            raise ValueError(f"severity={severity}: {len(self.perturbations)} of {self.name} needed, not {len(values)}")
        inside = zip(severities_of(self.low), values, severities_of(self.high), strict=True)
        return self.prediction != ABSTAIN and all(low <= value <= high for low, value, high in inside)

    def contains(self, points: Float[Tensor, "n *shape"]) -> Bool[Tensor, " n"]:
        """Which of the points, each of the input's shape, lie in the region of a proven cell's anchor.

        Raises ValueError for a path without its regions, which says nothing of them.
        """
        if not self.regions:
            raise ValueError("this path is certified without its regions: certify_path(..., regions=True) claims them")
        check_points(points, self.x.shape)
        ruler, points = Ruler(self.scale, self.norm), points.to(self.x.device).double().flatten(1)
        found = torch.zeros(len(points), dtype=torch.bool, device=points.device)
        for cell, anchor in zip(self.cells, self.anchors, strict=True):
            if cell.proven and self.prediction != ABSTAIN:
                found |= ruler.up(ruler.length(points - placed(anchor, self.grid))) < cell.rho
        return found

    @cached_property
    def anchors(self) -> Float[Tensor, "m *shape"]:
        """The anchor of every cell: the middle of its images, or the image at its middle, clipped and rounded."""
        low, middle, high = (
            torch.tensor(ends, dtype=torch.float64, device=self.x.device).view(-1, len(self.perturbations))
            for ends in ([getattr(cell, end) for cell in self.cells] for end in ("low", "middle", "high"))
        )
        if self.rounding is None or self.rules == 1:
            return self.images_at(middle)
        course = Course(self.perturbations, self.x, self.clamp, self.rounding, self.unrounded)
        return anchors_of(course, low, high, self.x, self.grid)

    def images_at(self, severities: Float[Tensor, "n q"]) -> Float[Tensor, "n *shape"]:
        """The input at so many severities, clipped and rounded."""
        course = Course(self.perturbations, self.x, self.clamp)
        return images_of(course, severities.to(self.x.device, torch.float64), self.x, self.rounding or self.grid)

    def to(self, device: torch.device | str) -> "PathCertificate":
        """The same certificate on another device."""
        return replace(self, x=self.x.to(device), scale=self.scale.to(device))

    def __repr__(self) -> str:
        return f"PathCertificate(input {self.index}: {self._told}, alpha = {self.alpha})"

    @property
    def _told(self) -> str:
        spent = f"{len(self.cells)} tests, {self.samples} samples"
        if self.status == "cells":
            spent += f"; it needs more cells than {self.budget} samples can certify"
            spent += f": about {self.needed} at least" if self.needed else ""
        if self.prediction == ABSTAIN:
            return f"no {self.name} is certified, {spent}"
        ends = zip(self.perturbations, severities_of(self.low), severities_of(self.high), strict=True)
        told = [f"{it.name} from {_inwards(low)} to {_inwards(high)} {it.unit}".strip() for it, low, high in ends]
        rounded = "" if self.unrounded else ", rounded alone"
        return f"class {self.prediction}, {', '.join(told)}{rounded}, {spent}"

    def _repr_html_(self) -> str:
        from rddrs.pictures import strip_card

        shares = torch.linspace(0, 1, 9, dtype=torch.float64)[:, None]
        low, high = (torch.tensor(severities_of(end), dtype=torch.float64) for end in (self.low, self.high))
        severities = (low + shares * (high - low)).to(self.x.device)
        images = Course(self.perturbations, self.x, self.clamp).points(severities).view(-1, *self.x.shape)
        titles = [", ".join(map(_inwards, row)) for row in severities.tolist()]
        return strip_card(repr(self), images, titles)


def severities_of(ends: float | Sequence[float]) -> Severities:
    """One severity, or a pair of them, as a tuple; raises ValueError for what is neither."""
    values = np.asarray(ends)
    if values.dtype.kind not in "iuf" or values.ndim > 1:
        raise ValueError(f"severities must be numbers, not {ends!r}")
    return tuple(values.astype(np.float64).reshape(-1).tolist())


def _inwards(end: float) -> str:
    """An end of an interval as text, rounded towards 0."""
    return f"{'-' if end < 0 else ''}{round_down(abs(end))}"
