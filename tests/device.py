"""A device that is none: its tensors compute on the CPU, but no operation may see them beside tensors of the CPU."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("meta")
CROSSING = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}
"""What may read a tensor of another device."""


class Elsewhere(Tensor):
    """A tensor on `DEVICE`; `inner` holds its numbers."""

    inner: Tensor  # pyright: ignore[reportIncompatibleMethodOverride]

    @staticmethod
    def __new__(cls, inner: Tensor) -> "Elsewhere":
        layout = {"strides": inner.stride(), "storage_offset": inner.storage_offset()}
        with torch.inference_mode(False):
            it = Tensor._make_wrapper_subclass(cls, inner.shape, **layout, dtype=inner.dtype, device=DEVICE)  # pyright: ignore
        it.inner = inner
        return it

    def tolist(self) -> Any:
        return self.inner.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})


class OneDevice(TorchDispatchMode):
    """While it is entered, `DEVICE` can be used, and an operation on tensors of both devices raises RuntimeError.

    As on a GPU, numbers (tensors without an axis) may join from the CPU.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with self:  # in inference mode, operations that are made of others arrive whole
            parts = func.decompose(*args, **kwargs or {})
        return compute(func, args, kwargs or {}) if parts is NotImplemented else parts


def compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, Tensor)]
    there = {id(leaf.inner): leaf for leaf in tensors if isinstance(leaf, Elsewhere)}
    here = [leaf for leaf in tensors if not isinstance(leaf, Elsewhere) and leaf.ndim]
    if there and here and func not in CROSSING:
        raise RuntimeError(f"{func} on tensors of two devices")
    goal = kwargs.get("device")
    if goal is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    found = func(*tree_map(inner, args), **tree_map(inner, kwargs))
    if not there if goal is None else torch.device(goal).type != DEVICE.type:
        return found

    def outer(leaf: Any) -> Any:
        return there.get(id(leaf), Elsewhere(leaf)) if isinstance(leaf, Tensor) else leaf

    return tree_map(outer, found)


def inner(leaf: Any) -> Any:
    return leaf.inner if isinstance(leaf, Elsewhere) else leaf
