"""The families of noise: how z is distributed in the noise B z of a scale, and what a probability then proves.

A certificate at the lower bound p of the probability of the class holds on |B^-1 delta| < rho(p), in the family's norm;
B is the factor of C that noise is made with (`Scale.spread`). Where p_B is not bounded, p_B <= 1 - p_A stands for it.
"""

import math
from abc import ABC, abstractmethod
from typing import Literal

import torch
from jaxtyping import Float
from scipy.stats import norm
from torch import Tensor

from rddrs.noise.scale import Scale

Norm = Literal["l2", "l1"]


class Family(ABC):
    """A distribution of z in R^d, and the norm that it certifies in."""

    order: int
    """The p of the l_p norm."""

    @abstractmethod
    def fill(self, rows: Float[Tensor, "n d"], source: torch.Generator) -> None:
        """Draw every row anew."""

    def draw(self, count: int, like: Float[Tensor, "*shape"], source: torch.Generator) -> Float[Tensor, "n d"]:
        """`count` rows of the dimension, dtype and device of the input `like`."""
        rows = like.new_empty(count, like.numel())
        self.fill(rows, source)
        return rows

    @abstractmethod
    def radius(self, probability: float) -> float:
        """rho(p); 0 up to p = 1/2."""

    @abstractmethod
    def probability(self, radius: float) -> float:
        """The p of a radius."""

    @abstractmethod
    def soft_radius(self, probabilities: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """rho(p) with a gradient, negative below p = 1/2."""

    @abstractmethod
    def margin_radius(self, ratios: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """rho(Phi(r)), the radius of normally distributed margins whose mean is r standard deviations."""

    def length(self, delta: Float[Tensor, "n d"], scale: Scale) -> Float[Tensor, " n"]:
        """|B^-1 delta| of every row, float64."""
        return torch.linalg.vector_norm(scale.coordinates(delta), self.order, dim=1)

    @abstractmethod
    def ball(self, scale: Scale) -> float:
        """The radius of the largest ball of the norm that |B^-1 delta| <= 1 holds."""

    @abstractmethod
    def log_unit_ball(self, dim: int) -> float:
        """The logarithm of the unit ball's volume."""


class Gaussian(Family):
    """z ~ N(0, I): rho = Phi^-1(p) in the l2 norm (Cohen, Rosenfeld & Kolter, ICML 2019)."""

    order = 2

    def fill(self, rows: Float[Tensor, "n d"], source: torch.Generator) -> None:
        rows.normal_(generator=source)

    def radius(self, probability: float) -> float:
        return max(0.0, float(norm.ppf(probability)))

    def probability(self, radius: float) -> float:
        return float(norm.cdf(radius))

    def soft_radius(self, probabilities: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return torch.special.ndtri(probabilities)

    def margin_radius(self, ratios: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return ratios

    def ball(self, scale: Scale) -> float:
        return scale.eigenvalues[0].item()

    def log_unit_ball(self, dim: int) -> float:
        return dim / 2 * math.log(math.pi) - math.lgamma(dim / 2 + 1)


class Uniform(Family):
    """z uniform on [-1, 1]^d: rho = 2 p - 1 in the l1 norm, at most 1 (Yang et al., ICML 2020).

    Two cubes that are delta apart overlap in a share of at least 1 - |delta|_1 / 2 of each, so that p falls by
    |delta|_1 / 2 at most. The cube has no symmetry but its axes: B counts, not C alone.
    """

    order = 1

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

    def ball(self, scale: Scale) -> float:
        return scale.cross_polytope

    def log_unit_ball(self, dim: int) -> float:
        return dim * math.log(2) - math.lgamma(dim + 1)


FAMILIES: dict[Norm, Family] = {"l2": Gaussian(), "l1": Uniform()}
"""The family that certifies in each norm."""
