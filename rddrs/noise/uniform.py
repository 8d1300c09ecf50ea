"""Uniform noise, which certifies in l1."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from rddrs.noise.family import Family
from rddrs.noise.polytopes import CrossPolytope
from rddrs.noise.scale import Scale


class Uniform(Family):
    """z uniform on [-1, 1]^d: rho = 2 p - 1 in the l1 norm, at most 1 (Yang et al., ICML 2020).

    Two cubes that are delta apart overlap in a share of at least 1 - |delta|_1 / 2 of each, so that p falls by
    |delta|_1 / 2 at most. The cube has no symmetry but its axes: B counts, not C alone.
    """

    def fill(self, rows: Float[Tensor, "n d"], source: torch.Generator) -> None:
        rows.uniform_(-1, 1, generator=source)

    def radius(self, probability: float) -> float:
        return max(0.0, 2 * probability - 1)

    def probability(self, radius: float) -> float:
        return (1 + radius) / 2

    def soft_radius(self, probabilities: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return 2 * probabilities - 1

    def margin_radius(self, ratios: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return torch.special.erf(ratios / math.sqrt(2))

    def norm(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        return torch.linalg.vector_norm(rows, 1, dim=1)

    def ball(self, scale: Scale) -> float:
        return scale.cross_polytope

    def log_unit_ball(self, dim: int) -> float:
        return dim * math.log(2) - math.lgamma(dim + 1)

    def steepest(self, slopes: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        axis = slopes.abs().argmax(dim=1, keepdim=True)
        return torch.zeros_like(slopes).scatter(1, axis, slopes.gather(1, axis).sign())

    def projected(self, rows: Float[Tensor, "n d"], radius: float) -> Float[Tensor, "n d"]:
        # By a threshold (Duchi et al., ICML 2008).
        sizes = rows.abs().sort(dim=1, descending=True).values
        means = (sizes.cumsum(dim=1) - radius) / torch.arange(1, rows.shape[1] + 1, device=rows.device)
        kept = (sizes > means).sum(dim=1, keepdim=True).clamp_min(1)
        threshold = means.gather(1, kept - 1).clamp_min(0)
        return rows.sign() * (rows.abs() - threshold).clamp_min(0)

    def region(self, center: Float[Tensor, " d"], scale: Scale, radius: float) -> CrossPolytope:
        return CrossPolytope(center, scale, radius)
