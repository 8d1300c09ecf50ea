"""What tells a network from any other: everything that its answers depend on."""

import inspect
from collections.abc import Iterator, Mapping, Sequence, Set
from functools import cache
from types import BuiltinFunctionType, FunctionType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from rddrs.digests import digest as tensors_digest
from rddrs.digests import source_digest

PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.memory_format)
NAMED = (type, FunctionType, BuiltinFunctionType)
OWN = frozenset(vars(nn.Module()))
"""The attributes that every module has."""
IDLE = ("inplace", "init", "return_indices")
"""Arguments of torch's modules that no logits depend on once the network has its weights."""


class Unseen(ValueError):
    """Something that cannot be described by its content."""


def digest(network: nn.Module, inputs: Float[Tensor, "n *shape"] | None = None) -> str:
    """A digest of the classes and settings of a network's modules, their attributes, parameters and buffers.

    Classes of a user's own are known by the files that they are written in, as `source_digest` says. A module that
    answers with something else, a session of a runtime, an engine, has a string `content`: the digest of the bytes of
    its file. Where it has none it is known by its answers to the `inputs`, which another machine may round otherwise;
    raises ValueError where there are no inputs either.
    """
    try:
        modules = [f"{name}: {described(module)}" for name, module in network.named_modules()]
        own = [it for module in network.modules() for it in (type(module), *_added(module))]
        modules += [it for it in [source_digest({_home(each) for each in own})] if it]
        tensors = {**dict(network.named_buffers()), **network.state_dict()}
    except Unseen as unseen:
        if inputs is None:
            raise ValueError(
                f"classifier: {unseen}: give it a string `content`, a digest of the file it is of"
            ) from None
        with torch.inference_mode():
            modules, tensors = [str(unseen)], {**network.state_dict(), "answers": network(inputs.clone())}
    return tensors_digest("\n".join(modules), {name: it for name, it in tensors.items() if isinstance(it, Tensor)})


def described(module: nn.Module) -> str:
    """A module's class, settings, hooks and, where it is a user's own, attributes; raises Unseen."""
    added = [[it, *(cell.cell_contents for cell in getattr(it, "__closure__", None) or ())] for it in _added(module)]
    return f"{_described(module)} {_plain(added, 'a hook')}" if added else _described(module)


def _added(module: nn.Module) -> list[Any]:
    """What was put around the forward of this one module, or in its place, but by torch."""
    found = [*module._forward_pre_hooks.values(), *module._forward_hooks.values()]
    if not isinstance(module, torch.jit.ScriptModule) and "forward" in vars(module):
        found.append(vars(module)["forward"])
    return [it for it in found if _home(it).partition(".")[0] != "torch"]


def _home(it: Any) -> str:
    """The module that it, or its class, is written in."""
    return getattr(it, "__module__", None) or ""


def _described(module: nn.Module) -> str:
    kind = type(module)
    name = f"{kind.__module__}.{kind.__qualname__}({module.extra_repr()})"
    if isinstance(module, torch.fx.GraphModule | torch.jit.ScriptModule):
        return f"{name} {module.code}"  # of a program that was exported or scripted
    if kind.__module__.startswith("torch.nn.modules."):
        untold = _untold(module)
        return f"{name} {_plain(untold, kind.__qualname__)}" if untold else name
    if kind.__module__.partition(".")[0] in ("torch", "rddrs"):
        return name
    attributes = {key: value for key, value in vars(module).items() if key not in OWN}
    if isinstance(content := attributes.get("content"), str):
        return f"{name} {content}"
    return f"{name} {_plain(attributes, f'{kind.__qualname__} has an attribute')}" if attributes else name


def _untold(module: nn.Module) -> dict[str, Any]:
    """The arguments of a module of torch's own that `extra_repr` leaves out, where they are not the defaults.

    Of a pool that is `count_include_pad`, of attention, which tells nothing of itself, `num_heads`.
    """
    told, found = module.extra_repr(), {}
    kept = {name: it for name, it in _arguments(type(module)).items() if name in vars(module)}
    for name, default in kept.items():
        value = vars(module)[name]
        every = (default,) * len(value) if isinstance(value, tuple) else default  # one number an axis
        usual = told != "" if default is inspect.Parameter.empty else value in (default, every)
        if f"{name}=" not in told and not usual:
            found[name] = value
    return found


@cache
def _arguments(kind: type[nn.Module]) -> dict[str, Any]:
    """The arguments that a kind of module is made from, and their defaults; recurrent ones name none, and keep one."""
    found = {name: it.default for name, it in inspect.signature(kind).parameters.items() if name not in IDLE}
    return {**found, "nonlinearity": "tanh"} if issubclass(kind, nn.RNNBase) else found


def _plain(value: Any, place: str, depth: int = 0) -> str:
    """A value as text that is the same in every process; raises Unseen, with its place."""
    if isinstance(value, PLAIN):
        return repr(value)
    if isinstance(value, NAMED):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, Tensor | np.ndarray | np.generic):
        return tensors_digest("", {"value": torch.as_tensor(value)})
    if isinstance(value, nn.Module):
        return type(value).__qualname__  # not registered, or described in its own place
    if depth < 6:
        if isinstance(value, Mapping):
            pairs = (f"{key!r}: {_plain(each, f'{place}[{key!r}]', depth + 1)}" for key, each in value.items())
            return f"{{{', '.join(pairs)}}}"
        if isinstance(value, Sequence | Set):
            parts: Iterator[str] = (_plain(each, place, depth + 1) for each in value)
            return f"[{', '.join(sorted(parts) if isinstance(value, Set) else parts)}]"
        if getattr(value, "__dict__", None) and "__getstate__" not in vars(type(value)):
            return f"{type(value).__qualname__} {_plain(vars(value), f'{place}.{type(value).__name__}', depth + 1)}"
    raise Unseen(
        f"{place} of the kind {type(value).__module__}.{type(value).__qualname__}, whose content cannot be seen"
    )
