"""What a family of noise is: how z is distributed in the noise B z of a scale, and what a probability then proves.

A certificate at the lower bound p of the probability of the class holds on |B^-1 delta| < rho(p), in the family's norm.
Where p_B is not bounded, p_B <= 1 - p_A stands for it. All that depends on a norm is here: a new one is a subclass, and
an entry of `families.FAMILIES`.
"""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from rddrs.noise.ellipsoids import Ellipsoid
from rddrs.noise.scale import Scale


class Family(ABC):
    """A distribution of z in R^d, and the norm that it certifies in."""

    @abstractmethod
    def fill(self, rows: Float[Tensor, "n d"], source: torch.Generator) -> None:
        """Draw every row anew."""

    def draw(self, count: int, like: Float[Tensor, "*shape"], source: torch.Generator) -> Float[Tensor, "n d"]:
        """`count` rows of the dimension, dtype and device of the input `like`."""
        rows = like.new_empty(count, like.numel())
        self.fill(rows, source)
        return rows

    def turned(self, z: Float[Tensor, "n d"], scale: Scale) -> Float[Tensor, "n d"]:
        """Rows of the same distribution, of which B makes noise that hardly changes where C does."""
        return z

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

    @abstractmethod
    def norm(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """|u| of every row u."""

    def length(self, delta: Float[Tensor, "n d"], scale: Scale) -> Float[Tensor, " n"]:
        """|B^-1 delta| of every row, float64."""
        return self.norm(scale.whiten(delta))

    @abstractmethod
    def ball(self, scale: Scale) -> float:
        """The radius of the largest ball of the norm that |B^-1 delta| <= 1 holds."""

    def euclidean_ball(self, scale: Scale) -> float | None:
        """That of the largest l2 ball, where bounds of l2 lengths are worth their while; else None."""
        return None

    @abstractmethod
    def log_unit_ball(self, dim: int) -> float:
        """The logarithm of the unit ball's volume."""

    @abstractmethod
    def steepest(self, slopes: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """For every row the direction of length 1 that ascends most."""

    def directions(self, count: int, like: Float[Tensor, "*shape"], source: torch.Generator) -> Float[Tensor, "n d"]:
        """Random directions of length 1: those that ascend random slopes most."""
        return self.steepest(like.new_empty(count, like.numel()).normal_(generator=source))

    @abstractmethod
    def projected(self, rows: Float[Tensor, "n d"], radius: float) -> Float[Tensor, "n d"]:
        """The nearest rows, by l2, of a length of at most `radius`."""

    @abstractmethod
    def region(self, center: Float[Tensor, " d"], scale: Scale, radius: float) -> Ellipsoid:
        """{ center + delta : |B^-1 delta| < radius }, which the ellipsoid of the same numbers holds."""
