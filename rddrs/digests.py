"""Digests: what tells tensors, files and a user's own code apart by their content, wherever they lie."""

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from importlib.util import find_spec, resolve_name
from pathlib import Path

import torch
from torch import Tensor

VERSIONED = {"rddrs", "pipelines", "torch", *sys.stdlib_module_names} - {"__main__"}
"""Packages whose code is known by their versions."""


def digest(kind: str, tensors: Mapping[str, Tensor]) -> str:
    """The sha256, in hex, of a description and of the tensors' names, precisions, shapes and bytes.

    It depends neither on the order of the names nor on the device or the layout in memory.
    """
    found = hashlib.sha256(kind.encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def file_digest(path: Path) -> str:
    """The sha256, in hex, of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def dotted_name(code: object) -> str:
    """Where a function, a class, what is partial of one or an instance of one is written."""
    while isinstance(code, partial):
        code = code.func
    kind = code if hasattr(code, "__qualname__") else type(code)
    return f"{getattr(kind, '__module__', '')}.{kind.__qualname__}"  # pyright: ignore[reportAttributeAccessIssue]


def source_digest(names: Iterable[str]) -> str:
    """The sha256, in hex, of the files that hold the code of dotted names, and of a user's own that those import.

    A name is that of a module, or of what is in one: `mine.Loss`. Imports are followed however deep, also those in
    functions, but not into what is installed; nothing is run for it. Empty where no name is of a file but Python's,
    torch's and this package's own, which have versions.
    """
    found: dict[str, str] = {}
    waiting = [(name, True) for name in names]
    while waiting:
        name, named = waiting.pop()
        module, file = _module_of(name)
        if file is None or module in found or not (named or _is_own(file)):
            continue
        found[module] = file_digest(file)
        if _is_own(file):
            waiting += [(it, False) for it in _imports(file, module)]
    return hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest() if found else ""


def _module_of(name: str) -> tuple[str, Path | None]:
    """The longest part of a dotted name that is a module, and its file of Python, if it has one and no version."""
    while name and name.partition(".")[0] not in VERSIONED:
        spec, loaded = None, sys.modules.get(name)
        if loaded is None and name.rpartition(".")[0] in ("", *sys.modules):
            with suppress(ImportError, AttributeError, ValueError):
                spec = find_spec(name)
        place = getattr(loaded, "__file__", None) or getattr(spec, "origin", None)
        if place and Path(place).is_file():
            return name, Path(place)
        name = name.rpartition(".")[0]
    return name, None


def _is_own(file: Path) -> bool:
    return file.suffix == ".py" and not {"site-packages", "dist-packages"} & {*file.parts}


def _imports(file: Path, module: str) -> Iterator[str]:
    """The dotted names that a file imports, and the packages that it lies in."""
    package = module if file.stem == "__init__" else module.rpartition(".")[0]
    yield package
    with suppress(SyntaxError, ImportError):  # of what could not be imported either
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Import):
                yield from (each.name for each in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module
                yield from (f"{base}.{each.name}" for each in node.names)
