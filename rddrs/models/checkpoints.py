"""What files of weights hold: read without running any code of theirs, and the state dict found in them."""

import pickle
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from zipfile import ZipFile, is_zipfile

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

State = Mapping[str, Tensor]

NESTS = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "params")
"""The keys that training programs keep a state dict under, the likelier first."""
AVERAGES = ("ema", "swa", "averag", "shadow", "momentum", "teacher", "target")
"""Parts of the names of weights that are kept beside those that were trained."""

KINDS = {
    b"version https://git-lfs": "is a Git LFS pointer and not the file: git lfs pull fetches it",
    b"<": "is a page of a web site and not the file: download the file itself",
    b"\x89HDF": "is an HDF5 file, as Keras writes it: a torch or safetensors file is needed",
    b"{": "is a text and not the file: an index names the files of the weights",
}
"""What other files begin with."""


def read(path: Path, key: str) -> object:
    """What the file holds; raises ValueError.

    A torch file is read with `weights_only=True`, and what is no tensor in it, a configuration, a NumPy scalar, becomes
    an object that does nothing: none of the file's code is imported or run.
    """
    named = f"{key}={path}"
    if not path.is_file():
        raise ValueError(f"{named}: {'it is a folder' if path.is_dir() else 'there is no such file'}")
    with path.open("rb") as file:
        head = file.read(64).lstrip()
    if not head:
        raise ValueError(f"{named} is an empty file")
    for start, told in KINDS.items():
        if head.startswith(start):
            raise ValueError(f"{named} cannot be read: it {told}")
    try:
        if path.suffix == ".safetensors" or head[8:9] == b"{":
            return load_file(path)
        if head.startswith(b"PK"):
            refuse_programs(path)
        return unpickled(path)
    except OSError:
        raise
    except Exception as error:  # whatever the parsers of damaged bytes raise
        told = str(error) if type(error) is ValueError else "it is damaged, cut off, or no file of weights"
        raise ValueError(f"{named} cannot be read as a state dict: {told}") from error


def refuse_programs(path: Path) -> None:
    """Raise ValueError for an archive that is cut off, or that holds a program and not weights alone."""
    if not is_zipfile(path):
        raise ValueError("it ends early: was it downloaded or copied as a whole?")
    names = ZipFile(path).namelist()
    if any(name.endswith("/constants.pkl") for name in names):
        how = f"classifier=own classifier._target_=torch.jit.load +classifier.f={path}"
        raise ValueError(f"it is a TorchScript program, a network itself: {how} certifies it")
    if not any(name.endswith("data.pkl") for name in names):
        raise ValueError(f"it is an exported program, a network itself: classifier=exported classifier.file={path}")


class Inert:
    """Stands for an object of the file that is no tensor."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


class InertMapping:
    """Stands for an object of the file that is a mapping of its own kind."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return OrderedDict()


def unpickled(path: Path) -> object:
    """The content of a torch file; raises ValueError where it is a whole pickled network."""
    try:
        names = get_unsafe_globals_in_checkpoint(str(path))
    except Exception:  # of an older format, or damaged
        names = []
    for other in (Inert, InertMapping):
        kinds = {name: InertMapping if name == "collections.defaultdict" else other for name in names}
        allowed: list[Any] = [(type(name, (kind,), {}), name) for name, kind in kinds.items()]
        try:
            with warnings.catch_warnings(action="ignore"), safe_globals(allowed):
                found = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            if other is InertMapping:
                raise
            continue
        if isinstance(found, Inert):
            raise ValueError(
                "a whole pickled network is code, and is not run: save torch.save(network.state_dict(), FILE) instead"
            )
        return found
    raise AssertionError


def is_state(value: object) -> bool:
    """Whether it maps names to tensors, beside states of modules that are none."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        return False
    rest = [it for name, it in value.items() if not name.endswith("_extra_state")]
    return len(rest) > 0 and all(isinstance(it, Tensor) for it in rest)


def states(found: object, prefix: str = "") -> Iterator[tuple[str, State]]:
    """All state dicts below an object of a file, by their key; those of a nest within a nest as `ema.module`."""
    if is_state(found):
        yield prefix, found  # pyright: ignore[reportReturnType]
    elif isinstance(found, Mapping) and prefix.count(".") < 3:
        for name, value in found.items():
            if not str(name).startswith("optim"):
                yield from states(value, f"{prefix}.{name}" if prefix else str(name))


def is_average(name: str) -> bool:
    return any(part in name.lower() for part in AVERAGES)


def state_of(path: Path, key: str, wanted: str | None, fit: Callable[[State], int]) -> tuple[State, str, list[str]]:
    """The file's state dict, its key in the file, and what people should know of the choice.

    It is that of the key `wanted`, else the one of the greatest `fit`, and of these the likeliest by its name. Raises
    ValueError where there is none, or none of that key.
    """
    found, named = read(path, key), f"{key}={path}"
    known = dict(states(found))
    if not known:
        raise ValueError(f"{named} is no state dict, which maps names to tensors: {described(found)}")
    if "" in known:
        return known[""], "", []
    if wanted is not None and wanted not in known:
        raise ValueError(f"{named}: classifier.state={wanted}: there are the state dicts {', '.join(known)}")
    fits = {name: fit(state) for name, state in known.items()}
    order = sorted(known, key=lambda name: (name != wanted, -fits[name], is_average(name), *likelihood(name), name))
    first, *rest = [name for name in order if fits[name] == fits[order[0]]]
    told = (
        f"; others that fit are {', '.join(rest[:3])} (classifier.state={rest[0]})" if rest and wanted is None else ""
    )
    return known[first], first, [f"{named}: the state dict below its key {first!r} is read{told}"]


def likelihood(name: str) -> tuple[int, int]:
    """How far a key is from the likeliest, for sorting."""
    parts = name.split(".")
    return len(parts), NESTS.index(parts[-1]) if parts[-1] in NESTS else len(NESTS)


def described(found: object) -> str:
    """The top of what a file holds."""
    if isinstance(found, Mapping):
        if not found:
            return "it is empty"
        kinds = [f"{name} ({kind(value)})" for name, value in list(found.items())[:8]]
        return f"it holds {', '.join(kinds)}" + (", ..." if len(found) > 8 else "")
    return f"it is a {kind(found)}"


def kind(value: object) -> str:
    if isinstance(value, Inert):
        return type(value).__name__
    if isinstance(value, Tensor):
        return f"tensor {tuple(value.shape)}"
    return f"mapping of {len(value)}" if isinstance(value, Mapping) else type(value).__name__
