"""Cross-polytopes x + rho B P, P the open unit ball of l1: the regions of uniform noise.

Along a normal w one reaches rho |B^T w|_inf from its centre, so that the w of the hyperplane that keeps two apart best
solves a linear program. It is solved exactly by a sort where both have the same axes, by a solver for others up to the
dimension `LARGEST`. Beyond, w is that of the ellipsoids x + rho C B that hold them: what it proves is safe, if not the
largest.
"""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rddrs.noise.ellipsoids import Ellipsoid, rounding, size
from rddrs.noise.full import Full
from rddrs.noise.kronecker import Kronecker, rotate
from rddrs.noise.scale import Scale

LARGEST = 128


class CrossPolytope(Ellipsoid):
    """The open set { center + delta : |B^-1 delta|_1 < radius }; the ellipsoid of the same numbers holds it."""

    def contains(self, point: Float[Tensor, " d"]) -> bool:
        """Whether the point is proven to lie inside."""
        length = self.scale.whiten((point.double() - self.center.double())[None]).abs().sum().item()
        slack = math.sqrt(self.scale.dim) * rounding(self.scale.dim)
        return length * (1 + slack * self.scale.norm / self.scale.eigenvalues[0].item()) < self.radius

    def reach(self, normal: Float[Tensor, "1 d"]) -> Tensor:
        return self.scale.extent(normal).abs().max() + rounding(self.scale.dim) * size(self.scale)

    def touching(self, first: Ellipsoid, delta: Float[Tensor, " d"]) -> Float[Tensor, " d"] | None:
        if first.contains(self.center):
            return None
        if _same_axes(first.scale, self.scale):
            return _sorted_normal(first, self, delta)
        if self.scale.dim <= LARGEST:
            return _solved_normal(first, self, delta)
        return super().touching(first, delta)


def _same_axes(first: Scale, second: Scale) -> bool:
    """Whether the columns of both factors B point along the same axes."""
    if isinstance(first, Kronecker) and isinstance(second, Kronecker):
        pairs = zip(first.factors, second.factors, strict=True)
        return first.values.shape == second.values.shape and all(torch.equal(one, other) for one, other in pairs)
    return not any(isinstance(scale, Full | Kronecker) for scale in (first, second))


def _sorted_normal(first: Ellipsoid, second: Ellipsoid, delta: Float[Tensor, " d"]) -> Float[Tensor, " d"]:
    """The best w where B_i = Q diag(lambda_i): in the axes |w| = min(t / lambda_1, 1 / lambda_2), signs as delta's.

    The gap, sum |delta| |w| - rho_1 t, is concave in t with kinks at lambda_1 / lambda_2.
    """
    ones = torch.ones(1, second.scale.dim, dtype=torch.float64)
    levels, factors, shape = [it.scale.deviations() for it in (first, second)], (), ones.shape[1:]
    if isinstance(first.scale, Kronecker) and isinstance(second.scale, Kronecker):
        levels = [it.values.double().flatten() for it in (first.scale, second.scale)]
        factors, shape = [factor.double() for factor in second.scale.factors], second.scale.values.shape
    moved = rotate(delta[None], [factor.mT for factor in factors], shape)[0]
    kinks, order = (levels[0] / levels[1]).sort(descending=True)
    slopes = (moved.abs() / levels[0])[order].cumsum(dim=0) - first.radius  # above the kink, as t falls
    best = kinks[int((slopes > 0).int().argmax())]
    normal = moved.sign() * torch.minimum(best / levels[0], 1 / levels[1])
    return rotate(normal[None], factors, shape)[0]


def _solved_normal(first: Ellipsoid, second: Ellipsoid, delta: Float[Tensor, " d"]) -> Float[Tensor, " d"] | None:
    """The w that maximises w . delta - rho_1 t under |B_1^T w|_inf <= t, |B_2^T w|_inf <= 1."""
    dim = len(delta)
    identity = torch.eye(dim, dtype=torch.float64)
    mine, others = (it.scale.spread(identity).numpy() for it in (first, second))  # B^T
    column = np.ones((dim, 1))
    rows = np.block([[mine, -column], [-mine, -column], [others, 0 * column], [-others, 0 * column]])
    limits = np.repeat([0.0, 1.0], 2 * dim)
    costs = np.append(-delta.numpy(), first.radius)
    from scipy.optimize import linprog

    found = linprog(costs, rows, limits, bounds=[*[(None, None)] * dim, (0, None)], method="highs")
    return torch.from_numpy(found.x[:-1]) if found.x is not None else None
