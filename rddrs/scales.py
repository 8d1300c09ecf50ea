"""Noise scales: the symmetric positive definite C of the noise C z, z ~ N(0, I).

A scale acts on flattened inputs of dimension d, a row each. C is a scale, never a covariance: the noise's
covariance is C C.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor


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


def _positive(name: str, values: Tensor) -> None:
    if not (torch.isfinite(values).all() and (values > 0).all()):
        raise ValueError(f"{name} must be finite and positive; its smallest value is {values.min().item()}")


@dataclass(frozen=True, eq=False)
class Isotropic(Scale):
    """C = sigma I."""

    sigma: float
    dim: int

    def __post_init__(self) -> None:
        _positive("sigma", torch.tensor(float(self.sigma)))

    @property
    def eigenvalues(self) -> Float[Tensor, " d"]:
        return torch.full((self.dim,), self.sigma, dtype=torch.float64)

    @property
    def log_det(self) -> float:
        return self.dim * self.eigenvalues[0].log().item()

    @property
    def geometric_mean(self) -> float:
        return self.sigma

    def noise(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return self.sigma * z

    def perturb(self, x: Float[Tensor, " d"], z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return torch.add(x, z, alpha=self.sigma, out=z)

    def whiten(self, delta: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return delta.double() / self.sigma

    @property
    def matrix(self) -> Float[Tensor, "d d"]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.sigma * torch.eye(self.dim, dtype=torch.float64)

    def scaled(self, factor: float) -> "Isotropic":
        return Isotropic(factor * self.sigma, self.dim)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "Isotropic":
        return self

    def tensors(self) -> dict[str, Tensor]:
        return {"sigma": torch.tensor(self.sigma, dtype=torch.float64), "dim": torch.tensor(self.dim)}


@dataclass(frozen=True, eq=False)
class Diagonal(Scale):
    """C = diag(theta)."""

    theta: Float[Tensor, " d"]

    def __post_init__(self) -> None:
        _positive("theta", self.theta)

    @property
    def dim(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return len(self.theta)

    @cached_property
    def eigenvalues(self) -> Float[Tensor, " d"]:
        return self.theta.double().sort().values

    def noise(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return z * self.theta.to(z)

    def perturb(self, x: Float[Tensor, " d"], z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return torch.addcmul(x, z, self.theta.to(z), out=z)

    def whiten(self, delta: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return delta.double() / self.theta.double()

    @property
    def matrix(self) -> Float[Tensor, "d d"]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.theta.diag()

    def scaled(self, factor: float) -> "Diagonal":
        return Diagonal(factor * self.theta)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "Diagonal":
        moved = self.theta.to(device, dtype or self.theta.dtype)
        return self if moved is self.theta else Diagonal(moved)

    def tensors(self) -> dict[str, Tensor]:
        return {"theta": self.theta}


@dataclass(frozen=True, eq=False)
class Full(Scale):
    """Any symmetric positive definite C, kept in the precision it is given in.

    Raises ValueError where the matrix is not square, symmetric or positive definite.
    """

    matrix: Float[Tensor, "d d"]

    def __post_init__(self) -> None:
        matrix = self.matrix
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"a scale must be a square matrix, not one of shape {tuple(matrix.shape)}")
        if not torch.isfinite(matrix).all():
            raise ValueError("a scale must be finite")
        if (matrix - matrix.mT).abs().max() > 1e-5 * matrix.abs().max():
            raise ValueError("a scale must be symmetric; symmetrise it first: (C + C.mT) / 2")
        # The mean of a number and itself is exact, so that this keeps a symmetric matrix to the last bit.
        object.__setattr__(self, "matrix", (matrix + matrix.mT) / 2)
        if torch.linalg.cholesky_ex(self.matrix.double()).info.item():
            raise ValueError(
                f"a scale must be positive definite; its smallest eigenvalue is {self.eigenvalues[0].item()}"
            )

    @property
    def dim(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return len(self.matrix)

    @cached_property
    def eigenvalues(self) -> Float[Tensor, " d"]:
        return torch.linalg.eigvalsh(self.matrix.double())

    @cached_property
    def cholesky(self) -> Float[Tensor, "d d"]:
        """The lower Cholesky factor of C, float64."""
        return torch.linalg.cholesky(self.matrix.double())

    @cached_property
    def _packed(self) -> Tensor:
        """C in float32 and oneDNN's own layout."""
        return torch.ops.mkldnn._reorder_linear_weight(self.matrix.float())

    def noise(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return z @ self.matrix.to(z)

    def perturb(self, x: Float[Tensor, " d"], z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        if z.device.type == "cpu" and z.dtype == torch.float32 and torch.backends.mkldnn.is_available():
            # Twice as fast as torch.addmm on AMD's processors, where that leaves half of the vector units idle. The
            # public way to oneDNN, linear(z.to_mkldnn(), ...).to_dense(), copies all noise twice.
            return torch.ops.mkldnn._linear_pointwise(z, self._packed, x, "none", [], "")
        return torch.addmm(x, z, self.matrix.to(z))

    def whiten(self, delta: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return torch.cholesky_solve(delta.double().mT, self.cholesky).mT

    def scaled(self, factor: float) -> "Full":
        return Full(factor * self.matrix)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "Full":
        moved = self.matrix.to(device, dtype or self.matrix.dtype)
        return self if moved is self.matrix else Full(moved)

    def tensors(self) -> dict[str, Tensor]:
        rows, columns = torch.tril_indices(self.dim, self.dim)
        return {"triangle": self.matrix[rows, columns]}


def from_tensors(tensors: dict[str, Tensor]) -> Scale:
    """The scale that `Scale.tensors` took apart; raises ValueError where there is none in `tensors`."""
    if "sigma" in tensors:
        return Isotropic(tensors["sigma"].item(), int(tensors["dim"].item()))
    if "theta" in tensors:
        return Diagonal(tensors["theta"])
    if "triangle" in tensors:
        triangle = tensors["triangle"]
        dim = int(((8 * len(triangle) + 1) ** 0.5 - 1) / 2)
        rows, columns = torch.tril_indices(dim, dim)
        matrix = triangle.new_empty(dim, dim)
        matrix[rows, columns] = triangle
        matrix[columns, rows] = triangle
        return Full(matrix)
    raise ValueError(f"no scale among the tensors {sorted(tensors)}: sigma, theta or triangle is needed")
