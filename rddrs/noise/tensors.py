"""Scales as tensors and in files."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from rddrs.files import reading, replacing
from rddrs.noise.diagonal import Diagonal
from rddrs.noise.full import Full
from rddrs.noise.isotropic import Isotropic
from rddrs.noise.kronecker import Kronecker
from rddrs.noise.scale import Scale


def from_tensors(tensors: dict[str, Tensor]) -> Scale:
    """The scale that `Scale.tensors` took apart; raises ValueError where there is none in `tensors`."""
    if "sigma" in tensors:
        return Isotropic(tensors["sigma"].item(), int(tensors["dim"].item()))
    if "values" in tensors:
        return Kronecker([tensors[f"factor{place}"] for place in range(tensors["values"].ndim)], tensors["values"])
    if "theta" in tensors:
        return Diagonal(tensors["theta"])
    if "triangle" in tensors:
        triangle = tensors["triangle"]
        dim = int(((8 * len(triangle) + 1) ** 0.5 - 1) / 2)
        rows, columns = torch.tril_indices(dim, dim)
        matrix = triangle.new_empty(dim, dim)
        matrix[rows, columns] = triangle
        matrix[columns, rows] = triangle
        return Full(matrix)
    raise ValueError(f"no scale among the tensors {sorted(tensors)}: sigma, values, theta or triangle is needed")


def save_scale(scale: Scale, path: str | Path) -> None:
    """Write a scale as safetensors, all of it or nothing."""
    with replacing(Path(path)) as part:
        save_file({name: tensor.cpu().contiguous() for name, tensor in scale.tensors().items()}, part)


def load_scale(path: str | Path) -> Scale:
    """The scale that `save_scale` wrote; raises Unreadable, a ValueError, where there is none or it is damaged."""
    with reading(Path(path)):
        return from_tensors(load_file(path))
