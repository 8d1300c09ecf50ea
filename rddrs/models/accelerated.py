"""A network that counts faster: in another precision, compiled with frozen weights, or both (METHOD section 12)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from itertools import starmap, zip_longest
from threading import Lock
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rddrs.models.adapters import Adapter
from rddrs.models.identity import described

Precision = Literal["float32", "bfloat16", "float16"]
ROWS, BUSY = 64, 512
"""Inputs that a compiled network runs at once, on a CPU and on another device, always as many: what it answers to one
depends on no other."""


@dataclass(frozen=True)
class Copies:
    """Copies of a network, for gradients and for counting, and what they were made of."""

    made_of: list[nn.Module]
    settings: list[str]
    tensors: list[Tensor]
    like: tuple[torch.Size, torch.device]
    plain: nn.Module
    fast: Callable[[Tensor], Tensor]

    def are_of(self, network: nn.Module) -> bool:
        """Whether the network is still what they were made of: its modules, their settings, and every number."""
        modules = list(network.modules())
        return (
            len(modules) == len(self.made_of)
            and all(now is before for now, before in zip(modules, self.made_of, strict=True))
            and self.settings == [described(module) for module in modules]
            and all(starmap(equal, zip_longest(numbers(network), self.tensors)))
        )


class Accelerated(Adapter):
    """The network with its weights fixed, in `precision`, compiled where `compile` is true.

    The input, the finished sum of x and the noise, is rounded to the precision in here; logits have the input's
    precision again. Under `torch.inference_mode`, where counts are made, the compiled copy runs; with gradients a plain
    copy of the same precision does; and while the network is trained, the network itself. Copies are made anew where
    the network has changed, in whatever way: at every call it is compared with what they were made of, number by
    number, but within `held`, once. Raises ValueError where there is no C++ compiler, or the network cannot be
    compiled.
    """

    def __init__(self, network: nn.Module, precision: Precision, compile: bool = False) -> None:
        super().__init__(network)
        self.train(network.training)
        self._dtype: torch.dtype = getattr(torch, precision)
        self._compile = compile
        self._lock = Lock()  # the first thread makes the copies, the others wait
        self._copies: Copies | None = None
        self._holders, self._fresh = 0, False
        if compile:
            check_compiler()

    @property
    def dtype(self) -> torch.dtype:
        """The precision of what answers."""
        return self._dtype

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_lock": None, "_copies": None, "_holders": 0, "_fresh": False}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({**state, "_lock": Lock()})

    def extra_repr(self) -> str:
        return f"{self._dtype}, compile={self._compile}"

    def forward(self, inputs: Float[Tensor, "n *shape"]) -> Float[Tensor, "n k"]:
        if self.network.training or any(weights.requires_grad for weights in self.network.parameters()):
            return self.network(inputs)
        rounded = inputs.to(self._dtype)
        copies = self._current(rounded)
        return (copies.fast if torch.is_inference_mode_enabled() else copies.plain)(rounded).to(inputs.dtype)

    @contextmanager
    def held(self) -> Iterator[None]:
        """The network does not change while this is open: the copies are compared with it once."""
        with self._lock:
            self._holders, self._fresh = self._holders + 1, False
        try:
            yield
        finally:
            with self._lock:
                self._holders, self._fresh = self._holders - 1, False

    def _current(self, rounded: Tensor) -> Copies:
        like = (rounded.shape[1:], rounded.device)
        with self._lock:
            copies = self._copies
            if copies is None or copies.like != like or not (self._fresh or copies.are_of(self.network)):
                with torch.inference_mode(False), torch.no_grad():
                    plain = laid_out(deepcopy(self.network).to(self._dtype), rounded)
                    fast = compiled(plain, rounded) if self._compile else plain
                modules = list(self.network.modules())
                settings = [described(module) for module in modules]
                tensors = [tensor.detach().clone() for tensor in numbers(self.network)]
                copies = self._copies = Copies(modules, settings, tensors, like, plain, fast)
            self._fresh = self._holders > 0
            return copies


def equal(first: Tensor | None, second: Tensor | None) -> bool:
    """Whether two tensors are the same in kind, place and every number."""
    if first is None or second is None or (first.dtype, first.device) != (second.dtype, second.device):
        return False
    return torch.equal(first, second)


def numbers(network: nn.Module) -> Iterator[Tensor]:
    """All parameters and buffers."""
    yield from network.parameters()
    yield from network.buffers()


def laid_out(network: nn.Module, like: Float[Tensor, "n *shape"]) -> nn.Module:
    """The network, its weights with their channels last where a graphics card is fastest then: in half precision.

    What follows from such weights lies so, too, and a network that views it otherwise fails: it stays as it was.
    """
    if like.device.type == "cpu" or like.dtype == torch.float32 or like.ndim != 4:
        return network
    last = deepcopy(network).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    try:
        return last if close(last(like[:1]).float(), network(like[:1]).float()) else network
    except RuntimeError:
        return network


def compiled(network: nn.Module, like: Float[Tensor, "n *shape"]) -> Callable[[Tensor], Tensor]:
    """The network compiled for inputs of this shape, its weights as constants, for one thread.

    It is compiled at once and for good: what runs later depends neither on the thread nor on the number of inputs.
    """
    from torch._inductor import config as inductor  # as long as torch itself to import

    source, size = torch.Generator(like.device).manual_seed(0), ROWS if like.device.type == "cpu" else BUSY
    example = torch.rand(size, *like.shape[1:], generator=source, device=like.device).to(like.dtype)
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
        padded = torch.cat([inputs, inputs.new_zeros(-len(inputs) % size, *inputs.shape[1:])])
        return torch.cat([run(rows) for rows in padded.split(size)])[: len(inputs)]

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
