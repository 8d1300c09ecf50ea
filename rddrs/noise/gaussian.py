"""Gaussian noise, which certifies in l2."""

import math

import torch
from jaxtyping import Float
from scipy.special import ndtr, ndtri
from torch import Tensor

from rddrs.noise.ellipsoids import Ellipsoid
from rddrs.noise.family import Family
from rddrs.noise.scale import Scale


class Gaussian(Family):
    """z ~ N(0, I): rho = Phi^-1(p) in the l2 norm (Cohen, Rosenfeld & Kolter, ICML 2019)."""

    def fill(self, rows: Float[Tensor, "n d"], source: torch.Generator) -> None:
        rows.normal_(generator=source)

    def turned(self, z: Float[Tensor, "n d"], scale: Scale) -> Float[Tensor, "n d"]:
        return scale.turned(z)

    def radius(self, probability: float) -> float:
        return max(0.0, float(ndtri(probability)))

    def probability(self, radius: float) -> float:
        return float(ndtr(radius))

    def soft_radius(self, probabilities: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return torch.special.ndtri(probabilities)

    def margin_radius(self, ratios: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return ratios

    def norm(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        return torch.linalg.vector_norm(rows, dim=1)

    def ball(self, scale: Scale) -> float:
        return scale.eigenvalues[0].item()

    def euclidean_ball(self, scale: Scale) -> float | None:
        return self.ball(scale)

    def log_unit_ball(self, dim: int) -> float:
        return dim / 2 * math.log(math.pi) - math.lgamma(dim / 2 + 1)

    def steepest(self, slopes: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return slopes / slopes.norm(dim=1, keepdim=True)

    def projected(self, rows: Float[Tensor, "n d"], radius: float) -> Float[Tensor, "n d"]:
        return rows * (radius / rows.norm(dim=1, keepdim=True)).clamp_max(1.0)

    def region(self, center: Float[Tensor, " d"], scale: Scale, radius: float) -> Ellipsoid:
        return Ellipsoid(center, scale, radius)
