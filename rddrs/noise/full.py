"""Any symmetric positive definite C, as a dense matrix."""

import math
from contextlib import suppress
from functools import cached_property

import numpy as np
import scipy.linalg
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from rddrs.noise.product import Product, multiply
from rddrs.noise.scale import Axis, Scale, ranks, require_numbers


class Full(Scale):
    """Any symmetric positive definite C, kept in the precision it is given in.

    Raises ValueError where the matrix is not square, symmetric or positive definite.
    """

    def __init__(self, matrix: Float[Tensor, "d d"]) -> None:
        require_numbers("matrix", matrix)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"a scale must be a square matrix, not one of shape {tuple(matrix.shape)}")
        matrix = matrix.detach()
        if not torch.isfinite(matrix).all():
            raise ValueError("a scale must be finite")
        if (matrix - matrix.mT).abs().max() > 1e-5 * matrix.abs().max():
            raise ValueError("a scale must be symmetric; symmetrise it first: (C + C.mT) / 2")
        # A copy. The mean of a number and itself is exact, so that this keeps a symmetric matrix to the last bit.
        self._matrix = ((matrix + matrix.mT) / 2).contiguous()
        if torch.linalg.cholesky_ex(self._matrix.double()).info.item():
            raise ValueError(
                f"a scale must be positive definite; its smallest eigenvalue is {self._spectrum[0][0].item()}"
            )

    @property
    def matrix(self) -> Float[Tensor, "d d"]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._matrix.clone()

    @property
    def dim(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return len(self._matrix)

    @cached_property
    def _spectrum(self) -> tuple[Float[Tensor, " d"], float]:
        """The computed eigenvalues, ascending, and how far each may be from the true one."""
        values = torch.linalg.eigvalsh(self._matrix.double())
        return values, 4 * self.dim * torch.finfo(torch.float64).eps * values[-1].item()

    @cached_property
    def _ascending(self) -> Float[Tensor, " d"]:  # pyright: ignore[reportIncompatibleMethodOverride]
        values, error = self._spectrum
        return (values - error).clamp_min(torch.finfo(torch.float64).tiny)

    @cached_property
    def norm(self) -> float:  # pyright: ignore[reportIncompatibleMethodOverride]
        values, error = self._spectrum
        return values[-1].item() + error

    @cached_property
    def rounding(self) -> float:  # pyright: ignore[reportIncompatibleMethodOverride]
        # The Cholesky factor is that of a matrix which is off by d eps |C| at most, and so are the solutions with it.
        error = 16 * self.dim * torch.finfo(torch.float64).eps * self.norm / self.eigenvalues[0].item()
        return error / (1 - error) if error < 1 else math.inf

    @cached_property
    def _cholesky(self) -> Float[Tensor, "d d"]:
        """The lower Cholesky factor of C, float64."""
        return torch.linalg.cholesky(self._matrix.double())

    @cached_property
    def _product(self) -> Product:
        return Product(self._matrix)

    def spread(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return multiply(z, self._matrix)

    def perturb(self, x: Float[Tensor, " d"], z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return self._product(z, x)

    def whiten(self, delta: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        # As cholesky_solve does, which copies the factor at every call.
        half = torch.linalg.solve_triangular(self._cholesky, delta.double().mT, upper=False)
        return torch.linalg.solve_triangular(self._cholesky.mT, half, upper=True).mT

    @cached_property
    def cross_polytope(self) -> float:  # pyright: ignore[reportIncompatibleMethodOverride]
        inverse = torch.cholesky_inverse(self._cholesky)
        condition = self.norm / self.eigenvalues[0].item()
        slack = 4 * self.dim * condition * torch.finfo(torch.float64).eps
        return max(0.0, (1 - slack) / inverse.abs().sum(dim=0).max().item())

    def deviations(self) -> Float[Tensor, " d"]:
        return self._matrix.double().norm(dim=1)

    def axes(self, first: int, last: int = 0) -> list[Axis]:
        chosen, matrix = ranks(self.dim, first, last), self._matrix.double().cpu().numpy()
        # The longest alone are found by Lanczos' method, where that is faster.
        some = len(chosen) if self.dim > 64 and chosen == list(range(1, len(chosen) + 1)) else self.dim
        values, vectors = _largest(matrix, some) if 0 < some < self.dim else scipy.linalg.eigh(matrix)
        return [Axis(rank, float(values[-rank]), torch.from_numpy(vectors[:, -rank].copy())) for rank in chosen]

    def scaled(self, factor: float) -> "Full":
        return Full(factor * self._matrix)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "Full":
        moved = self._matrix.to(device, dtype or self._matrix.dtype)
        return self if moved is self._matrix else Full(moved)

    def tensors(self) -> dict[str, Tensor]:
        rows, columns = torch.tril_indices(self.dim, self.dim, device=self.matrix.device)
        return {"triangle": self._matrix[rows, columns]}


def _largest(matrix: Float[ndarray, "d d"], count: int) -> tuple[Float[ndarray, " n"], Float[ndarray, "d n"]]:
    """At least the `count` largest eigenvalues, ascending, and their eigenvectors."""
    from scipy.sparse.linalg import ArpackNoConvergence, eigsh

    start = np.random.default_rng(0).standard_normal(len(matrix))
    with suppress(ArpackNoConvergence):
        return eigsh(matrix, k=count, which="LA", v0=start, tol=1e-6)  # pyright: ignore
    return scipy.linalg.eigh(matrix)
