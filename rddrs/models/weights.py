"""The weights of networks: on disk, and what tells them apart."""

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rddrs.digests import digest as tensors_digest
from rddrs.files import replacing


def digest(network: nn.Module) -> str:
    """What tells a network from any other: the classes and settings of its modules, its parameters and buffers."""
    modules = (
        f"{name}: {type(module).__module__}.{type(module).__qualname__}({module.extra_repr()})"
        for name, module in network.named_modules()
    )
    return tensors_digest("\n".join(modules), network.state_dict())


def save_weights(network: nn.Module, path: Path) -> None:
    """Write the state dict as safetensors, all of it or nothing."""
    with replacing(path) as part:
        save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, part)


def load_weights(network: nn.Module, path: Path) -> None:
    """Load a state dict (`.safetensors`, else a torch file, read with `weights_only=True`) into the network.

    Raises ValueError where the file is missing, damaged, or does not fit the network.
    """
    if not path.is_file():
        raise ValueError(f"classifier.checkpoint={path}: there is no such file")
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise ValueError(f"classifier.checkpoint={path} cannot be read as a state dict: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"classifier.checkpoint={path} is no state dict: it must map parameter names to tensors")
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"classifier.checkpoint={path} does not fit {type(network).__name__}: {error}") from error
