"""The product of noise with a fixed matrix, as fast as can be, in full precision whatever torch is allowed to round."""

from functools import cache, cached_property

import torch
from jaxtyping import Float
from torch import Tensor


def multiply(z: Float[Tensor, "*n d"], matrix: Float[Tensor, "d k"]) -> Float[Tensor, "*n k"]:
    """z A in full precision, with a gradient."""
    return (z.double() @ matrix.to(z.device, torch.float64)).to(z) if rounds_products(z) else z @ matrix.to(z)


class Product:
    """z -> x + z A for a fixed matrix A, [d, k]; `x` may be left out. Without a gradient."""

    def __init__(self, matrix: Float[Tensor, "d k"]) -> None:
        self._matrix = matrix

    def __getstate__(self) -> dict[str, Tensor]:
        return {"_matrix": self._matrix}  # oneDNN's tensors have no storage that could be copied: packed again

    @cached_property
    def _packed(self) -> Tensor:
        """A in float32 and oneDNN's own layout."""
        return torch.ops.mkldnn._reorder_linear_weight(self._matrix.mT.float().contiguous())

    def __call__(self, z: Float[Tensor, "n d"], x: Float[Tensor, " k"] | None = None) -> Float[Tensor, "n k"]:
        if rounds_products(z):
            return multiply(z, self._matrix) if x is None else x + multiply(z, self._matrix)
        if z.device.type == "cpu" and z.dtype == torch.float32 and onednn():
            # Twice as fast as torch.addmm on AMD's processors, where that leaves half of the vector units idle. The
            # public way to oneDNN, linear(z.to_mkldnn(), ...).to_dense(), copies all noise twice. It reads its
            # arguments as if they were contiguous.
            x = None if x is None else x.contiguous()
            return torch.ops.mkldnn._linear_pointwise(z.contiguous(), self._packed, x, "none", [], "")
        return z @ self._matrix.to(z) if x is None else torch.addmm(x, z, self._matrix.to(z))


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
    """Whether this build of torch has oneDNN's packed product, which is private, and it computes x + z A."""
    z, matrix, x = torch.tensor([[[1, 2], [3, 4]], [[3, 1], [1, 4]], [[5, 6], [7, 8]]], dtype=torch.float32)
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(matrix)
        found = torch.ops.mkldnn._linear_pointwise(z, packed, x[0], "none", [], "")
    except (AttributeError, RuntimeError, TypeError):
        return False
    return torch.equal(found, torch.addmm(x[0], z, matrix.mT))
