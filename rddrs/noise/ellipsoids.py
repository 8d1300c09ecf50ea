"""Ellipsoids x + rho C B, B the open unit ball: how far one may grow before it meets another.

Every answer is proven by a hyperplane in double precision with its rounding errors counted against it: a pair that
is undecided counts as overlapping.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rddrs.noise.diagonal import Diagonal
from rddrs.noise.full import Full
from rddrs.noise.kronecker import Kronecker, rotate
from rddrs.noise.scale import Scale

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
        return self.radius * self.scale.norm

    def contains(self, point: Float[Tensor, " d"]) -> bool:
        """Whether the point is proven to lie inside."""
        norm = self.scale.whiten((point.double() - self.center.double())[None]).norm().item()
        if not norm < self.radius:  # which needs no eigenvalues
            return False
        condition = self.scale.norm / self.scale.eigenvalues[0].item()
        return norm * (1 + rounding(self.scale.dim) * condition) < self.radius

    def reach(self, normal: Float[Tensor, "1 d"]) -> Tensor:
        """How far it reaches along a unit normal from its centre, for a radius of 1, rounded up."""
        return self.scale.extent(normal).norm() + rounding(self.scale.dim) * size(self.scale)

    def touching(self, first: "Ellipsoid", delta: Float[Tensor, " d"]) -> Float[Tensor, " d"] | None:
        """The normal where it grows to touch `first`, `delta` away; None where its centre lies inside."""
        return _touching_normal(first, self, delta)


def clearance(first: Ellipsoid, second: Ellipsoid, enough: float = math.inf) -> float:
    """The largest radius at which `second`, its shape kept, is proven to be disjoint from `first`.

    0 where the centre of `second` lies in `first`. This is the distance in the norm |C_2^-1 delta| from that centre
    to `first`, a projection on an ellipsoid. In the coordinates that diagonalise both ellipsoids (one generalised
    eigendecomposition; none where both are isotropic, diagonal, or of one Kronecker basis) its dual is concave in one
    multiplier l = s / (1 - s), the s of K(s) in METHOD section 5, and the root of the dual's derivative gives the
    touching point. Between different Kronecker bases l is searched, with conjugate gradients for every l. The
    hyperplane there proves the answer, whatever the accuracy of the root: a safe radius, if not always the largest. A
    smaller radius may be returned that is at least `enough`, for which matrix-vector products suffice. Raises
    ValueError for ellipsoids of different dimensions.
    """
    if first.scale.dim != second.scale.dim:
        raise ValueError(f"ellipsoids of dimensions {first.scale.dim} and {second.scale.dim} cannot be compared")
    delta = first.center.double() - second.center.double()
    if enough < math.inf and (normal := _separating_normal(first, second, delta, enough)) is not None:
        proven = _proven(first, second, delta, normal)
        if proven >= enough:
            return proven
    normal = second.touching(first, delta)
    return 0.0 if normal is None else _proven(first, second, delta, normal)


def disjoint(first: Ellipsoid, second: Ellipsoid) -> bool:
    """Whether two ellipsoids are proven to have no point in common."""
    return any(
        clearance(one, other, enough=other.radius) >= other.radius for one, other in ((first, second), (second, first))
    )


def _separating_normal(
    first: Ellipsoid, second: Ellipsoid, delta: Float[Tensor, " d"], radius: float, steps: int = CONJUGATE_STEPS
) -> Float[Tensor, " d"] | None:
    """A normal that separates `first` from `second` at this radius, if conjugate gradients find one soon.

    They solve (A_1^2 + A_2^2) w = delta, the normal of s = 1/2 in METHOD section 5.
    """
    return next((normal for normal, proven in _normals(first, second, delta, radius, steps) if proven), None)


def _normals(
    first: Ellipsoid, second: Ellipsoid, delta: Float[Tensor, " d"], radius: float, steps: int
) -> Iterator[tuple[Float[Tensor, " d"], bool]]:
    """The iterates of conjugate gradients towards the w of (A_1 A_1^T + radius^2 B_2 B_2^T) w = delta.

    With each, whether it separates the two at this radius.
    """
    residual = direction = delta
    normal, reach, width = torch.zeros_like(delta), torch.zeros_like(delta), torch.zeros_like(delta)
    for _ in range(steps):
        along_first = first.radius * first.scale.extent(direction[None])[0]
        along_second = radius * second.scale.extent(direction[None])[0]
        image = first.radius * first.scale.spread(along_first[None])[0]
        image = image + radius * second.scale.spread(along_second[None])[0]
        square = residual @ residual
        if square <= 1e-28 * (delta @ delta):  # solved, to the last digits
            return
        step = square / (direction @ image)
        normal, reach, width = normal + step * direction, reach + step * along_first, width + step * along_second
        yield normal, bool(normal @ delta > (reach.norm() + width.norm()) * (1 + 1e-9))
        residual = residual - step * image
        direction = residual + (residual @ residual) / square * direction


def _searched_normal(first: Ellipsoid, second: Ellipsoid, delta: Float[Tensor, " d"]) -> Float[Tensor, " d"] | None:
    """The best normal that a search over the multiplier finds, with matrix-vector products alone."""
    from scipy.optimize import minimize_scalar

    found: dict[float, Tensor] = {}

    def loss(log_radius: float) -> float:
        *_, (found[log_radius], _) = _normals(first, second, delta, math.exp(log_radius), 2 * CONJUGATE_STEPS)
        return -_proven(first, second, delta, found[log_radius])

    # |delta| / min(lambda) is beyond the distance in the norm |C_2^-1 delta|, and where first is a point, it is that.
    top = math.log(delta.norm().item() / second.scale.eigenvalues[0].item())
    bottom = math.log(delta.norm().item() / second.scale.norm) - 7
    best: Any = minimize_scalar(loss, bounds=(bottom, top), method="bounded", options={"maxiter": 15})
    return found[float(best.x)] if best.fun < 0 else None


def _touching_normal(first: Ellipsoid, second: Ellipsoid, delta: Float[Tensor, " d"]) -> Float[Tensor, " d"] | None:
    """The normal where `second` grows to touch `first`; None where its centre lies inside."""
    turned = _one_basis(first.scale, second.scale)
    if turned is None and not (isinstance(first.scale, Full) or isinstance(second.scale, Full)):
        return _searched_normal(first, second, delta)
    if turned is None:
        identity = torch.eye(first.scale.dim, dtype=torch.float64)
        axes = first.radius * second.scale.whiten(first.scale.spread(identity))
        squares, vectors = torch.linalg.eigh(axes.mT @ axes)
        white = vectors.mT @ second.scale.whiten(delta[None])[0]

        def back(touching: Tensor) -> Tensor:
            white_normal = (vectors @ touching)[None]  # B_2^T w
            if isinstance(second.scale, Full):  # whose B is symmetric
                return second.scale.whiten(white_normal)[0]
            return torch.linalg.solve(second.scale.spread(identity), white_normal[0])

    else:
        levels, turns, shape = turned
        squares = (first.radius * levels[0] / levels[1]) ** 2
        white = rotate(delta[None], [turn.mT for turn in turns], shape)[0] / levels[1]

        def back(touching: Tensor) -> Tensor:
            return rotate((touching / levels[1])[None], turns, shape)[0]

    # An eigenvalue below the rounding error of the largest is noise: any positive value keeps the answer safe.
    mu = squares.clamp_min(squares.max() * rounding(second.scale.dim)).cpu().numpy()
    b2 = (white**2).cpu().numpy()

    def slope(multiplier: float) -> float:
        return float(np.sum(b2 * mu / (mu + multiplier) ** 2)) - 1

    if slope(0.0) <= 0:
        return None
    top = float(np.sqrt(np.sum(b2 * mu)))
    bracketed = slope(top) < 0
    from scipy.optimize import root_scalar

    multiplier = root_scalar(slope, bracket=(0.0, top), xtol=1e-15 * top, rtol=1e-12).root if bracketed else top
    return back(white * torch.from_numpy(multiplier / (mu + multiplier)).to(white))


def _one_basis(
    first: Scale, second: Scale
) -> tuple[list[Float[Tensor, " d"]], list[Float[Tensor, "n n"]], tuple[int, ...]] | None:
    """The noise levels of both along the axes of one basis, its factors and shape; None where there is none.

    Isotropic scales have every basis, diagonal ones that of the coordinates.
    """
    bases = [scale for scale in (first, second) if isinstance(scale, Kronecker)]
    factors = [[factor.double() for factor in scale.factors] for scale in bases]
    if any(isinstance(scale, Full) for scale in (first, second)):
        return None
    if not bases:
        return [scale.deviations() for scale in (first, second)], [], (first.dim,)
    alike = len(bases) == 1 or all(map(torch.equal, *factors))
    if not alike or any(isinstance(scale, Diagonal) for scale in (first, second)):
        return None
    levels = [
        scale.values.double().flatten() if isinstance(scale, Kronecker) else scale.deviations()
        for scale in (first, second)
    ]
    return levels, factors[0], tuple(bases[0].values.shape)


def _proven(first: Ellipsoid, second: Ellipsoid, delta: Float[Tensor, " d"], normal: Float[Tensor, " d"]) -> float:
    """The radius up to which the hyperplane with this normal separates `second` from `first`, rounded down.

    Along a unit normal w an ellipsoid `first` reaches down to w.delta - rho_1 |C_1 w|, `second` up to rho_2 |C_2 w|.
    """
    if not (normal.isfinite().all() and normal.abs().max() > 0):
        return 0.0
    normal = normal / normal.abs().max()
    normal = (normal / normal.norm())[None]
    slack = rounding(second.scale.dim)
    reach = first.radius * first.reach(normal)
    gap = normal[0] @ delta - reach - slack * (delta.norm() + reach)
    return max(0.0, (gap / second.reach(normal)).item() * (1 - slack))
