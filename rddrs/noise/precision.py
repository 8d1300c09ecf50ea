"""Products of float32 numbers that nothing rounds, whatever torch, the environment or a user's autocast allow.

Where float64 is fast, or the device is a CPU, they are made in it, which is never rounded. Elsewhere (1/64 of float32's
rate on most graphics cards, none on Apple's) both factors are taken apart into three parts of eight bits each, whose
products are exact in bfloat16, TF32 and float32 alike, and the six that matter are summed in float32, the smallest
first: what is left out is at most 2^-22 |z| |A|, of the size of a float32 product's own rounding.
"""

from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function

DOUBLE_AT_HALF_RATE = {(6, 0), (7, 0), (8, 0), (9, 0), (9, 4), (10, 0)}
"""Capabilities of devices that compute float64 at half of float32's rate or faster: data-centre cards.

A fact of the model of the card, not a measurement, so that the same card always computes the same.
"""

BUSY = 1 << 26
"""Numbers that keep a device busy, and whose copies in higher precision still leave room for a network."""


def together(device: torch.device, cached: int) -> int:
    """How many numbers are worked on at once: `cached`, what a core's cache holds, or on another device `BUSY`."""
    return cached if device.type == "cpu" else max(cached, BUSY)


def rounds_products(z: Tensor) -> bool:
    """Whether torch may round the factors of a float32 product to TF32 or bfloat16, that is, sample another C.

    On any device but a CPU that is for the user, the environment and other threads to allow, so that the answer there
    is always yes. On a CPU it is what is allowed now, or an autocast that is entered.
    """
    if z.dtype != torch.float32:
        return False
    if z.device.type != "cpu":
        return True
    allowed = torch.backends.mkldnn.matmul.fp32_precision  # pyright: ignore[reportAttributeAccessIssue]
    return allowed not in ("none", "ieee") or torch.is_autocast_enabled("cpu")


@cache
def fast_float64(device: torch.device) -> bool:
    """Whether products in float64 are small beside a network on this device."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) in DOUBLE_AT_HALF_RATE
    return device.type == "cpu"


def prepared(matrix: Float[Tensor, "d k"], device: torch.device) -> tuple[Tensor, ...]:
    """What `exact` multiplies with on this device: the matrix in float64, or its three parts."""
    matrix = matrix.to(device)
    return (matrix.double(),) if fast_float64(device) else parts(matrix.float())


def exact(z: Float[Tensor, "n d"], factor: tuple[Tensor, ...]) -> Float[Tensor, "n k"]:
    """z A in float32 for a `prepared` matrix A, without a gradient."""
    if len(factor) == 1:
        return (z.double() @ factor[0]).to(z)
    rows, found = parts(z), None
    with _without_autocast(z.device):
        for left, right in ((0, 2), (1, 1), (2, 0), (0, 1), (1, 0), (0, 0)):
            pair = rows[left], factor[right]
            found = torch.mm(*pair) if found is None else torch.addmm(found, *pair)
    assert found is not None
    return found


def parts(tensor: Float[Tensor, "n d"]) -> tuple[Tensor, ...]:
    """Three tensors of eight significant bits each, whose sum is a float32 tensor."""
    found = []
    for _ in range(3):
        found.append(tensor.to(torch.bfloat16).float())
        tensor = tensor - found[-1]  # exact
    return tuple(found)


class ExactProduct(Function):
    """z A by `exact`, with gradients of the same precision."""

    @staticmethod
    def forward(ctx: Any, z: Float[Tensor, "n d"], matrix: Float[Tensor, "d k"]) -> Float[Tensor, "n k"]:
        ctx.save_for_backward(z, matrix)
        return exact(z, prepared(matrix, z.device))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        (gradient,), (z, matrix) = grad_outputs, ctx.saved_tensors
        of_z, of_matrix = ctx.needs_input_grad
        return (
            ExactProduct.apply(gradient, matrix.mT) if of_z else None,
            ExactProduct.apply(z.mT, gradient) if of_matrix else None,
        )


def _without_autocast(device: torch.device) -> torch.autocast:
    known = device.type if torch.amp.is_autocast_available(device.type) else "cpu"
    return torch.autocast(known, enabled=False)
