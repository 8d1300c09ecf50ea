"""A network that counts faster: in another precision, compiled with frozen weights, or both (METHOD section 12)."""

from collections.abc import Callable
from copy import deepcopy
from threading import Lock
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch._inductor import config as inductor

from rddrs.models.adapters import Adapter

Precision = Literal["float32", "bfloat16"]
ROWS = 64
"""Inputs that a compiled network runs at once, always as many: what it answers to one depends on no other."""


class Accelerated(Adapter):
    """The network with its weights fixed, in `precision`, compiled where `compile` is true.

    The input, the finished sum of x and the noise, is rounded to the precision in here; logits have the input's
    precision again. Under `torch.inference_mode`, where counts are made, the compiled copy runs; with gradients a plain
    copy of the same precision does; and while the network is trained, the network itself. Copies are made anew where
    the weights have changed. Raises ValueError where there is no C++ compiler, or the network cannot be compiled.
    """

    def __init__(self, network: nn.Module, precision: Precision, compile: bool = False) -> None:
        super().__init__(network)
        self._dtype: torch.dtype = getattr(torch, precision)
        self._compile = compile
        self._lock = Lock()  # the first thread makes the copies, the others wait
        self._copies: tuple[object, nn.Module, Callable[[Tensor], Tensor]] | None = None
        if compile:
            check_compiler()

    def forward(self, inputs: Float[Tensor, "n *shape"]) -> Float[Tensor, "n k"]:
        if self.network.training or any(weights.requires_grad for weights in self.network.parameters()):
            return self.network(inputs)
        rounded = inputs.to(self._dtype)
        plain, fast = self._current(rounded)
        return (fast if torch.is_inference_mode_enabled() else plain)(rounded).to(inputs.dtype)

    def _current(self, inputs: Tensor) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
        tensors = [*self.network.parameters(), *self.network.buffers()]
        state = (inputs.shape[1:], inputs.device, [tensor._version for tensor in tensors])
        with self._lock:
            if self._copies is None or self._copies[0] != state:
                with torch.inference_mode(False), torch.no_grad():
                    plain = deepcopy(self.network).to(self._dtype)
                    self._copies = state, plain, compiled(plain, inputs) if self._compile else plain
            return self._copies[1:]


def compiled(network: nn.Module, like: Float[Tensor, "n *shape"]) -> Callable[[Tensor], Tensor]:
    """The network compiled for inputs of this shape, its weights as constants, for one thread.

    It is compiled at once and for good: what runs later depends neither on the thread nor on the number of inputs.
    """
    source = torch.Generator(like.device).manual_seed(0)
    example = torch.rand(ROWS, *like.shape[1:], generator=source, device=like.device).to(like.dtype)
    try:
        with inductor.patch({"freezing": True, "cpp.threads": 1}):
            run: Any = torch._inductor.compile(
                torch.export.export(network, (example,)).module(check_guards=False), [example]
            )
            agrees = all(close(run(x).float(), network(x).float()) for x in (example, -example))
    except Exception as error:
        raise ValueError(f"classifier.compile=true: the network cannot be compiled: {error}") from error
    if not agrees:
        raise ValueError("classifier.compile=true: the compiled network answers differently: it branches on its inputs")

    def call(inputs: Tensor) -> Tensor:
        padded = torch.cat([inputs, inputs.new_zeros(-len(inputs) % ROWS, *inputs.shape[1:])])
        return torch.cat([run(rows) for rows in padded.split(ROWS)])[: len(inputs)]

    return call


def close(found: Float[Tensor, "n k"], expected: Float[Tensor, "n k"]) -> bool:
    """Whether logits agree to a tenth of their size: far more than rounding, far less than another branch."""
    return bool((found - expected).abs().max() <= 0.1 * expected.abs().max())


def check_compiler() -> None:
    """Raise ValueError where there is no C++ compiler."""
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        get_cpp_compiler()
    except Exception as error:
        raise ValueError(
            "classifier.compile=true needs a C++ compiler, and there is none: install g++, name one by the environment "
            f"variable CXX, or leave it out ({error})"
        ) from error
