"""Any symmetric positive definite C, as a dense matrix."""

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.linalg
import torch
from jaxtyping import Float
from numpy import ndarray
from scipy.sparse.linalg import ArpackNoConvergence, eigsh
from torch import Tensor

from rddrs.noise.scale import Axis, Scale, ranks


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

    def deviations(self) -> Float[Tensor, " d"]:
        return self.matrix.double().norm(dim=1)

    def axes(self, first: int, last: int = 0) -> list[Axis]:
        chosen, matrix = ranks(self.dim, first, last), self.matrix.double().cpu().numpy()
        # The longest alone are found by Lanczos' method, where that is faster.
        some = len(chosen) if self.dim > 64 and chosen == list(range(1, len(chosen) + 1)) else self.dim
        values, vectors = _largest(matrix, some) if 0 < some < self.dim else scipy.linalg.eigh(matrix)
        return [Axis(rank, float(values[-rank]), torch.from_numpy(vectors[:, -rank].copy())) for rank in chosen]

    def scaled(self, factor: float) -> "Full":
        return Full(factor * self.matrix)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "Full":
        moved = self.matrix.to(device, dtype or self.matrix.dtype)
        return self if moved is self.matrix else Full(moved)

    def tensors(self) -> dict[str, Tensor]:
        rows, columns = torch.tril_indices(self.dim, self.dim)
        return {"triangle": self.matrix[rows, columns]}


def _largest(matrix: Float[ndarray, "d d"], count: int) -> tuple[Float[ndarray, " n"], Float[ndarray, "d n"]]:
    """At least the `count` largest eigenvalues, ascending, and their eigenvectors."""
    start = np.random.default_rng(0).standard_normal(len(matrix))
    with suppress(ArpackNoConvergence):
        return eigsh(matrix, k=count, which="LA", v0=start, tol=1e-6)  # pyright: ignore
    return scipy.linalg.eigh(matrix)
