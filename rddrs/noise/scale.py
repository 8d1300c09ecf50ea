"""What every noise scale is: the symmetric positive definite C of the noise C z, z ~ N(0, I).

A scale acts on flattened inputs of dimension d, a row each. C is a scale, never a covariance: the noise's
covariance is C C.
"""

from abc import ABC, abstractmethod
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from rddrs.digests import digest


class Scale(ABC):
    """A symmetric positive definite d x d noise scale C, in the input's own units; `matrix` is C, dense."""

    dim: int
    matrix: Float[Tensor, "d d"]

    @property
    @abstractmethod
    def eigenvalues(self) -> Float[Tensor, " d"]:
        """The eigenvalues lambda of C, ascending, float64."""

    @abstractmethod
    def noise(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """C z for every row z."""

    @abstractmethod
    def perturb(self, x: Float[Tensor, " d"], z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """x + C z for every row z, as fast as can be, without a gradient; `z` may be overwritten."""

    @abstractmethod
    def whiten(self, delta: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """C^-1 delta for every row delta, float64."""

    @abstractmethod
    def scaled(self, factor: float) -> "Scale":
        """The scale factor * C."""

    @abstractmethod
    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "Scale":
        """The same scale on another device; a full matrix and a diagonal rounded to `dtype` where it is given."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """The smallest set of tensors that `from_tensors` rebuilds the scale from."""

    @cached_property
    def digest(self) -> str:
        """What tells this C, to the last bit, and its precision from any other."""
        return digest(type(self).__name__, self.tensors())

    @property
    def covariance(self) -> Float[Tensor, "d d"]:
        """C C, the covariance of the noise, float64."""
        matrix = self.matrix.double()
        return matrix @ matrix

    @cached_property
    def log_det(self) -> float:
        """log det C."""
        return self.eigenvalues.log().sum().item()

    @property
    def geometric_mean(self) -> float:
        """det(C)^(1/d), the geometric mean of the eigenvalues."""
        return float(torch.exp(torch.tensor(self.log_det / self.dim, dtype=torch.float64)))


def positive(name: str, values: Tensor) -> None:
    if not (torch.isfinite(values).all() and (values > 0).all()):
        raise ValueError(f"{name} must be finite and positive; its smallest value is {values.min().item()}")
