"""Ellipsoids x + rho C B, B the open unit ball: how far one may grow before it meets another.

Every answer is proven by a hyperplane in double precision with its rounding errors counted against it: a pair that
is undecided counts as overlapping.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import root_scalar
from torch import Tensor

from rddrs.noise import Full, Scale

CONJUGATE_STEPS = 30


def rounding(dim: int) -> float:
    """A bound on the relative rounding error of inner products of length `dim` in double precision, with room."""
    return 4 * dim * torch.finfo(torch.float64).eps


def size(scale: Scale) -> float:
    """The Frobenius norm of C, without an eigendecomposition."""
    return (scale.matrix.double() if isinstance(scale, Full) else scale.eigenvalues).norm().item()


@dataclass(frozen=True, eq=False)
class Ellipsoid:
    """The open set { center + delta : |C^-1 delta|_2 < radius }."""

    center: Float[Tensor, " d"]
    scale: Scale
    radius: float

    @property
    def outer(self) -> float:
        """The radius of the smallest ball around it with the same centre."""
        return self.radius * self.scale.eigenvalues[-1].item()

    def contains(self, point: Float[Tensor, " d"]) -> bool:
        """Whether the point is proven to lie inside."""
        norm = self.scale.whiten((point.double() - self.center.double())[None]).norm().item()
        if not norm < self.radius:  # which needs no eigenvalues
            return False
        condition = (self.scale.eigenvalues[-1] / self.scale.eigenvalues[0]).item()
        return norm * (1 + rounding(self.scale.dim) * condition) < self.radius


def clearance(first: Ellipsoid, second: Ellipsoid, enough: float = math.inf) -> float:
    """The largest radius at which `second`, its shape kept, is proven to be disjoint from `first`.

    0 where the centre of `second` lies in `first`. This is the distance in the norm |C_2^-1 delta| from that centre
    to `first`, a projection on an ellipsoid. In the coordinates that diagonalise both ellipsoids (one generalised
    eigendecomposition; none where both are isotropic or diagonal) its dual is concave in one multiplier l =
    s / (1 - s), the s of K(s) in METHOD section 5, and the root of the dual's derivative gives the touching point.
    The hyperplane there proves the answer, whatever the accuracy of the root. A smaller radius may be returned that is
    at least `enough`, for which matrix-vector products suffice. Raises ValueError for ellipsoids of different
    dimensions.
    """
    if first.scale.dim != second.scale.dim:
        raise ValueError(f"ellipsoids of dimensions {first.scale.dim} and {second.scale.dim} cannot be compared")
    delta = first.center.double() - second.center.double()
    if enough < math.inf and (normal := _separating_normal(first, second, delta, enough)) is not None:
        proven = _proven(first, second, delta, normal)
        if proven >= enough:
            return proven
    normal = _touching_normal(first, second, delta)
    return 0.0 if normal is None else _proven(first, second, delta, normal)


def disjoint(first: Ellipsoid, second: Ellipsoid) -> bool:
    """Whether two ellipsoids are proven to have no point in common."""
    return any(
        clearance(one, other, enough=other.radius) >= other.radius for one, other in ((first, second), (second, first))
    )


def _separating_normal(
    first: Ellipsoid, second: Ellipsoid, delta: Float[Tensor, " d"], radius: float
) -> Float[Tensor, " d"] | None:
    """A normal that separates `first` from `second` at this radius, if conjugate gradients find one soon.

    They solve (A_1^2 + A_2^2) w = delta, the normal of s = 1/2 in METHOD section 5.
    """
    apply_first, apply_second = _product(first.scale, first.radius), _product(second.scale, radius)
    residual = direction = delta
    normal, reach, width = torch.zeros_like(delta), torch.zeros_like(delta), torch.zeros_like(delta)
    for _ in range(CONJUGATE_STEPS):
        along_first, along_second = apply_first(direction), apply_second(direction)
        image = apply_first(along_first) + apply_second(along_second)
        square = residual @ residual
        step = square / (direction @ image)
        normal, reach, width = normal + step * direction, reach + step * along_first, width + step * along_second
        if normal @ delta > (reach.norm() + width.norm()) * (1 + 1e-9):
            return normal
        residual = residual - step * image
        direction = residual + (residual @ residual) / square * direction
    return None


def _product(scale: Scale, radius: float) -> Callable[[Float[Tensor, " d"]], Float[Tensor, " d"]]:
    """v -> radius C v in double precision, the conversion done once."""
    if isinstance(scale, Full):
        matrix = radius * scale.matrix.double()
        return lambda vector: matrix @ vector
    return lambda vector: radius * scale.noise(vector[None])[0]


def _touching_normal(first: Ellipsoid, second: Ellipsoid, delta: Float[Tensor, " d"]) -> Float[Tensor, " d"] | None:
    """The normal where `second` grows to touch `first`; None where its centre lies inside."""
    white = second.scale.whiten(delta[None])[0]
    vectors = None
    if isinstance(first.scale, Full) or isinstance(second.scale, Full):
        axes = first.radius * second.scale.whiten(first.scale.matrix.double())
        squares, vectors = torch.linalg.eigh(axes.mT @ axes)
        white = vectors.mT @ white
    else:
        ones = torch.ones(1, second.scale.dim, dtype=torch.float64, device=delta.device)
        squares = (first.radius * second.scale.whiten(first.scale.noise(ones))[0]) ** 2
    # An eigenvalue below the rounding error of the largest is noise: any positive value keeps the answer safe.
    mu = squares.clamp_min(squares.max() * rounding(second.scale.dim)).cpu().numpy()
    b2 = (white**2).cpu().numpy()

    def slope(multiplier: float) -> float:
        return float(np.sum(b2 * mu / (mu + multiplier) ** 2)) - 1

    if slope(0.0) <= 0:
        return None
    top = float(np.sqrt(np.sum(b2 * mu)))
    bracketed = slope(top) < 0
    multiplier = root_scalar(slope, bracket=(0.0, top), xtol=1e-15 * top, rtol=1e-12).root if bracketed else top
    touching = white * torch.from_numpy(multiplier / (mu + multiplier)).to(white)
    return second.scale.whiten((touching if vectors is None else vectors @ touching)[None])[0]


def _proven(first: Ellipsoid, second: Ellipsoid, delta: Float[Tensor, " d"], normal: Float[Tensor, " d"]) -> float:
    """The radius up to which the hyperplane with this normal separates `second` from `first`, rounded down.

    Along a unit normal w, `first` reaches down to w.delta - rho_1 |C_1 w| and `second` up to rho_2 |C_2 w|.
    """
    if not (normal.isfinite().all() and normal.abs().max() > 0):
        return 0.0
    normal = normal / normal.abs().max()
    normal = (normal / normal.norm())[None]
    slack = rounding(second.scale.dim)
    reach = first.radius * (first.scale.noise(normal).norm() + slack * size(first.scale))
    gap = normal[0] @ delta - reach - slack * (delta.norm() + reach)
    width = second.scale.noise(normal).norm() + slack * size(second.scale)
    return max(0.0, (gap / width).item() * (1 - slack))
