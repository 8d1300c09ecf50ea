"""Digests: what tells tensors and files apart by their content, wherever they lie."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor


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
