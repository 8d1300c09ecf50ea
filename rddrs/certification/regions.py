"""A certified region, how its images are stored, and lengths |B^-1 delta| in it, with what rounding adds to them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rddrs.certification.certify import Certificate
from rddrs.noise import Diagonal, Isotropic
from rddrs.threats import Perturbation, stored
from rddrs.threats.blocks import Coefficients
from rddrs.threats.linear import Linear

Distances = TypeVar("Distances", float, Tensor)
Range = tuple[float, float]
Key = tuple[int, float]
"""A perturbation's identity and a severity."""

SLACK = 1e-10
"""What float64 may be wrong by, in units of the largest entry and one, and of a radius."""


@dataclass(frozen=True)
class Region:
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

    @cached_property
    def error(self) -> float:
        """What an error of `slack` in every entry adds to a length at most."""
        return float(self.spread(torch.full_like(self.x[None], self.slack)))

    @cached_property
    def start(self) -> tuple[Float[Tensor, "*shape"] | None, Float[Tensor, "*shape"]]:
        """How far the clamped input is from x, None where it is x, and how far at most what it is rounded to is."""
        clamped = self.stored(self.x)
        ends = (stored(clamped + sign * self.slack, rounding=self.rounding) for sign in (1, -1))
        away = None if torch.equal(clamped, self.x) else (clamped - self.x).abs()
        return away, torch.maximum(*((end - self.x).abs() for end in ends))

    def cut(self, points: Float[Tensor, "n *shape"]) -> bool:
        """Whether clamping changes any entry by more than the slack."""
        if self.clamp is None:
            return False
        least, most = points.aminmax()
        return bool((least < self.clamp[0] - self.slack) | (most > self.clamp[1] + self.slack))

    def direction(self, perturbation: Perturbation) -> Tensor:
        """v(x) of one that is linear, x + s v(x), in a shape that broadcasts with [1, *shape]."""
        key, change = id(perturbation), perturbation.function
        if key not in self._directions:
            assert isinstance(change, Linear)
            self._directions[key] = change.direction(self.x[None])
        return self._directions[key]

    def jumps(self, perturbation: Perturbation) -> float | None:
        """At odd multiples of half of this severity all of x + s v(x) that moves is rounded to the next multiples.

        It is, where x is rounded already and all is moved by as much.
        """
        if self.rounding is None or not isinstance(perturbation.function, Linear):
            return None
        sizes = self.direction(perturbation).abs()
        most = float(sizes.max())
        return self.rounding / most if 0 < most < math.inf and ((sizes == most) | (sizes == 0)).all() else None

    def sides(self, perturbation: Perturbation) -> tuple[Tensor, Tensor]:
        """T_1(x) - x and T_-1(x) - x."""
        key = id(perturbation)
        if key not in self._sides:
            self._sides[key] = perturbation.points(self.x, self.x.new_tensor([1, -1])) - self.x
        first, second = self._sides[key]
        return first, second

    @cached_property
    def _directions(self) -> dict[int, Tensor]:
        return {}

    @cached_property
    def _sides(self) -> dict[int, Tensor]:
        return {}

    @cached_property
    def coefficients(self) -> Coefficients:
        """Those of the input's blocks."""
        return Coefficients.of(self.x[None])

    def stored(self, points: Float[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
        """Clamped, but not rounded."""
        return stored(points, self.clamp)

    def length(self, delta: Float[Tensor, "n *shape"]) -> Float[Tensor, " n"]:
        """|B^-1 delta|."""
        family, scale = self.certificate.family, self.certificate.scale
        if isinstance(scale, Isotropic):  # one number a row is divided, not every entry
            return family.norm(delta.flatten(1)) / scale.sigma
        return family.length(delta.flatten(1), scale)

    def lengths(self, keys: Sequence[Key], points: Float[Tensor, "n *shape"]) -> Float[Tensor, " n"]:
        """|B^-1 (point - x)|, of points that were seen under the same key as it was then."""
        new = [place for place, key in enumerate(keys) if key not in self._known]
        if new:
            found = self.length(points[torch.tensor(new).to(points.device)] - self.x).tolist()
            self._known.update(zip((keys[place] for place in new), found, strict=True))
        return torch.tensor([self._known[key] for key in keys], dtype=points.dtype).to(points.device)

    @cached_property
    def _known(self) -> dict[Key, float]:
        return {}

    def spread(self, bound: Float[Tensor, "n *shape"]) -> Float[Tensor, " n"]:
        """At least |B^-1 delta| for every delta whose entries are within the bound's."""
        if self.diagonal:
            return self.length(bound)
        return self.certificate.family.norm(bound.flatten(1)) / self._ball

    def ball(self, spread: Distances) -> Distances:
        """At least |B^-1 delta| for every |delta|_2 <= spread, which is rounded or not."""
        assert self.euclidean_ball is not None
        size = math.sqrt(self.x.numel())
        return (spread + (self.slack + (self.rounding or 0.0) / 2) * size) / self.euclidean_ball

    def longest(self, box: tuple[Float[Tensor, "n *shape"], Float[Tensor, "n *shape"]]) -> Float[Tensor, " n"]:
        """A bound of |B^-1 (x' - x)| over the points x' of every box."""
        lower, upper = box
        if self.diagonal:  # the corner with the largest sizes
            return self.length(torch.maximum(self.x - lower, upper - self.x))
        return self.around((lower + upper) / 2 - self.x, (upper - lower) / 2)[0]

    def around(
        self, centre: Float[Tensor, "n *shape"], half: Float[Tensor, "n *shape"]
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """A bound of |B^-1 (centre + z)| for all z whose entries are within `half`, and |B^-1 centre|; C not diagonal.

        In l2 its square is |w|^2 + 2 z . B^-T w + |B^-1 z|^2, w = B^-1 centre: the middle term is bounded by entry,
        where that may decide.
        """
        spread, scale = self.spread(half), self.certificate.scale
        if self.euclidean_ball is None:
            length = self.length(centre)
            return length + spread, length
        whitened = scale.whiten(centre.flatten(1))
        length = torch.linalg.vector_norm(whitened, dim=1)
        most = length + spread
        rows = (length < self.certificate.radius) & self._reaching(most)
        if rows.any():
            centred, away, around = length[rows], spread[rows], half.flatten(1)[rows]
            along = (around * scale.slopes(whitened[rows]).abs()).sum(dim=1) + 4 * scale.rounding * centred * away
            most[rows] = torch.fmin(most[rows], (centred**2 + 2 * along + away**2).sqrt())
        return most, length

    def _reaching(self, most: Float[Tensor, " n"]) -> Bool[Tensor, " n"]:
        """Of which bounds it is not known that they are below the radius."""
        return most >= self.certificate.radius * (1 - SLACK) / self.up

    def undecided(self, most: Float[Tensor, " n"]) -> Bool[Tensor, " n"]:
        """Of which of these bounds rounding decides whether they stay below the radius."""
        return (most < self.certificate.radius) & self._reaching(most + self._rounded)

    def also_rounded(
        self, most: Float[Tensor, " n"], lower: Float[Tensor, "n *shape"], upper: Float[Tensor, "n *shape"]
    ) -> Float[Tensor, " n"]:
        """Of points between these ends the bound, and that of what they are rounded to where that decides.

        A clamped end may lie half-way between two multiples, of which either is a nearest one.
        """
        if self.rounding is None or not (asked := self.undecided(most)).any():
            return most
        if not asked.all():
            lower, upper = lower[asked], upper[asked]
        lower, upper = lower - self.slack, upper + self.slack
        found = self.longest((stored(lower, rounding=self.rounding), stored(upper, rounding=self.rounding)))
        return most.index_put((asked,), torch.maximum(most[asked], found))
