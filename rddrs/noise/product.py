"""The product of noise with a fixed matrix, as fast as can be, in full precision whatever torch is allowed to round."""

from functools import cache, cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rddrs.noise.precision import BUSY, ExactProduct, exact, prepared, rounds_products


def multiply(z: Float[Tensor, "*n d"], matrix: Float[Tensor, "d k"]) -> Float[Tensor, "*n k"]:
    """z A in full precision, with a gradient."""
    matrix = matrix.to(z)
    if not rounds_products(z):
        return z @ matrix
    found: Any = ExactProduct.apply(z.reshape(-1, z.shape[-1]), matrix)
    return found.view(*z.shape[:-1], matrix.shape[1])


class Product:
    """z -> x + z A for a fixed matrix A, [d, k]; `x` may be left out. Without a gradient."""

    def __init__(self, matrix: Float[Tensor, "d k"]) -> None:
        self._matrix = matrix
        self._prepared: dict[torch.device, tuple[Tensor, ...]] = {}

    def __getstate__(self) -> dict[str, Any]:  # oneDNN's tensors have no storage that could be copied: packed again
        return {"_matrix": self._matrix, "_prepared": {}}

    @cached_property
    def _packed(self) -> Tensor:
        """A in float32 and oneDNN's own layout."""
        return torch.ops.mkldnn._reorder_linear_weight(self._matrix.mT.float().contiguous())

    def __call__(self, z: Float[Tensor, "n d"], x: Float[Tensor, " k"] | None = None) -> Float[Tensor, "n k"]:
        if rounds_products(z):
            return self._exact(z, x)
        if z.device.type == "cpu" and z.dtype == torch.float32 and onednn():
            # Twice as fast as torch.addmm on AMD's processors, where that leaves half of the vector units idle. The
            # public way to oneDNN, linear(z.to_mkldnn(), ...).to_dense(), copies all noise twice. It reads its
            # arguments as if they were contiguous.
            x = None if x is None else x.contiguous()
            return torch.ops.mkldnn._linear_pointwise(z.contiguous(), self._packed, x, "none", [], "")
        return z @ self._matrix.to(z) if x is None else torch.addmm(x, z, self._matrix.to(z))

    def _exact(self, z: Float[Tensor, "n d"], x: Float[Tensor, " k"] | None) -> Float[Tensor, "n k"]:
        """In parts, whose copies in higher precision fit in the memory beside a network."""
        if (factor := self._prepared.get(z.device)) is None:
            factor = self._prepared[z.device] = prepared(self._matrix, z.device)
        found = z.new_empty(len(z), self._matrix.shape[1])
        rows = max(1, BUSY // max(self._matrix.shape))
        for noise, part in zip(z.split(rows), found.split(rows), strict=True):
            product = exact(noise, factor)
            part.copy_(product) if x is None else torch.add(x, product, out=part)
        return found


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
