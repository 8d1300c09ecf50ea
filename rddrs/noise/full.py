"""Any symmetric positive definite C, as a dense matrix."""

from functools import cache, cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from rddrs.noise.scale import Scale


class Full(Scale):
    """Any symmetric positive definite C, kept in the precision it is given in.

    Raises ValueError where the matrix is not square, symmetric or positive definite.
    """

    def __init__(self, matrix: Float[Tensor, "d d"]) -> None:
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
                f"a scale must be positive definite; its smallest eigenvalue is {self.eigenvalues[0].item()}"
            )

    @property
    def matrix(self) -> Float[Tensor, "d d"]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._matrix.clone()

    @property
    def dim(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return len(self._matrix)

    @cached_property
    def eigenvalues(self) -> Float[Tensor, " d"]:
        return torch.linalg.eigvalsh(self._matrix.double())

    @cached_property
    def cholesky(self) -> Float[Tensor, "d d"]:
        """The lower Cholesky factor of C, float64."""
        return torch.linalg.cholesky(self._matrix.double())

    @cached_property
    def _double(self) -> Float[Tensor, "d d"]:
        return self._matrix.double()

    @cached_property
    def _packed(self) -> Tensor:
        """C in float32 and oneDNN's own layout."""
        return torch.ops.mkldnn._reorder_linear_weight(self._matrix.float())

    def noise(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return (z.double() @ self._double.to(z.device)).to(z) if rounds_products(z) else z @ self._matrix.to(z)

    def perturb(self, x: Float[Tensor, " d"], z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        if rounds_products(z):
            return x + self.noise(z)
        if z.device.type == "cpu" and z.dtype == torch.float32 and onednn():
            # Twice as fast as torch.addmm on AMD's processors, where that leaves half of the vector units idle. The
            # public way to oneDNN, linear(z.to_mkldnn(), ...).to_dense(), copies all noise twice. It reads its
            # arguments as if they were contiguous.
            return torch.ops.mkldnn._linear_pointwise(z.contiguous(), self._packed, x.contiguous(), "none", [], "")
        return torch.addmm(x, z, self._matrix.to(z))

    def whiten(self, delta: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return torch.cholesky_solve(delta.double().mT, self.cholesky).mT

    def scaled(self, factor: float) -> "Full":
        return Full(factor * self._matrix)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "Full":
        moved = self._matrix.to(device, dtype or self._matrix.dtype)
        return self if moved is self._matrix else Full(moved)

    def tensors(self) -> dict[str, Tensor]:
        rows, columns = torch.tril_indices(self.dim, self.dim)
        return {"triangle": self._matrix[rows, columns]}


def rounds_products(z: Tensor) -> bool:
    """Whether torch may round the factors of a float32 product to TF32 or bfloat16, that is, sample another C.

    On a GPU that is for the user, the environment and other threads to allow, so that the answer there is always yes:
    in float64, which is never rounded, the product is small beside a network. On a CPU it is what is allowed now.
    """
    if z.dtype != torch.float32:
        return False
    return z.is_cuda or torch.backends.mkldnn.matmul.fp32_precision not in ("none", "ieee")  # pyright: ignore[reportAttributeAccessIssue]


@cache
def onednn() -> bool:
    """Whether this build of torch has oneDNN's packed product, which is private, and it computes x + z C."""
    z, matrix, x = torch.tensor([[[1, 2], [3, 4]], [[3, 1], [1, 4]], [[5, 6], [7, 8]]], dtype=torch.float32)
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(matrix)
        found = torch.ops.mkldnn._linear_pointwise(z, packed, x[0], "none", [], "")
    except (AttributeError, RuntimeError, TypeError):
        return False
    return torch.equal(found, torch.addmm(x[0], z, matrix))
