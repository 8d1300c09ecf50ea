"""The weights of networks on disk: those of the network itself, whatever adapters are around it."""

import pickle
import warnings
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rddrs.files import replacing
from rddrs.models.adapters import bare

NESTS = ("state_dict", "model")
PREFIXES = ("module.", "_orig_mod.", "model.", "network.")
"""The keys that training programs keep a state dict under, and the names that wrappers put before its keys."""


def save_weights(network: nn.Module, path: Path) -> None:
    """Write the state dict as safetensors, all of it or nothing."""
    with replacing(path) as part:
        save_file({name: tensor.contiguous() for name, tensor in bare(network).state_dict().items()}, part)


def load_weights(network: nn.Module, path: Path, key: str = "classifier.checkpoint") -> list[str]:
    """Load a state dict (`.safetensors`, else a torch file, read with `weights_only=True`) into the network.

    A state dict below a key `state_dict` or `model` and one whose keys all begin with a wrapper's name, `module.`, are
    read, too: what had to be done is returned, for people. Raises ValueError, with the `key` that named the file,
    where it is missing, damaged, holds NaN, or does not fit the network.
    """
    network, notes = bare(network), []
    state = read(path, key)
    for nest in NESTS:
        if isinstance(state, dict) and isinstance(state.get(nest), dict):
            state = state[nest]
            notes.append(f"{key}={path}: the state dict below its key {nest!r} is read")
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{key}={path} is no state dict: it must map parameter names to tensors")
    own = network.state_dict()
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in state) and not any(name.startswith(prefix) for name in own):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
            notes.append(f"{key}={path}: the prefix {prefix!r} of its keys is left out")
    broken = [name for name, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise ValueError(f"{key}={path}: {', '.join(broken[:3])} hold NaN or infinite numbers: the training diverged")
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{key}={path} does not fit {type(network).__name__}: {error}") from error
    return notes


def read(path: Path, key: str) -> object:
    """What the file holds; raises ValueError."""
    if not path.is_file():
        raise ValueError(f"{key}={path}: there is no such file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        advice = "a whole pickled network is code, and is not run: save torch.save(network.state_dict(), FILE) instead"
        raise ValueError(f"{key}={path} cannot be read as a state dict ({advice}): {error}") from error
    except Exception as error:  # whatever the parsers of damaged bytes raise
        raise ValueError(f"{key}={path} cannot be read as a state dict: {error}") from error
