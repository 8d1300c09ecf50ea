"""Scales as tensors and in files."""

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from rddrs.files import reading, replacing
from rddrs.noise.diagonal import Diagonal
from rddrs.noise.families import Norm
from rddrs.noise.full import Full
from rddrs.noise.isotropic import Isotropic
from rddrs.noise.kronecker import Kronecker
from rddrs.noise.scale import Scale


def from_tensors(tensors: dict[str, Tensor]) -> Scale:
    """The scale that `Scale.tensors` took apart; raises ValueError where `tensors` are none, or hold more than one."""
    names = sorted(tensors)
    factors = [f"factor{place}" for place in range(tensors["values"].ndim)] if "values" in tensors else []
    if names == ["dim", "sigma"]:
        return Isotropic(tensors["sigma"].item(), tensors["dim"].item())  # pyright: ignore[reportArgumentType]
    if names == sorted([*factors, "values"]):
        return Kronecker([tensors[factor] for factor in factors], tensors["values"])
    if names == ["theta"]:
        return Diagonal(tensors["theta"])
    if names == ["triangle"]:
        triangle = tensors["triangle"]
        dim = int(((8 * len(triangle) + 1) ** 0.5 - 1) / 2)
        rows, columns = torch.tril_indices(dim, dim)
        matrix = triangle.new_empty(dim, dim)
        matrix[rows, columns] = triangle
        matrix[columns, rows] = triangle
        return Full(matrix)
    kinds = "dim and sigma, values and a factor an axis, theta alone, or triangle alone"
    raise ValueError(f"no scale has the tensors {', '.join(names) or '(none)'}: it has {kinds}")


def save_scale(scale: Scale, path: str | Path, norm: Norm | None = None) -> None:
    """Write a scale as safetensors, all of it or nothing, and the `norm` that it was made for, if that is given."""
    tensors = {name: tensor.cpu().contiguous() for name, tensor in scale.tensors().items()}
    with replacing(Path(path)) as part:
        save_file(tensors, part, None if norm is None else {"norm": norm})


def load_scale(path: str | Path, norm: Norm | None = None, device: torch.device | str = "cpu") -> Scale:
    """The scale that `save_scale` wrote, on the `device`.

    Raises Unreadable, a ValueError, where there is none or it is damaged, and ValueError where the file says that it
    was made for another norm than the one given.
    """
    advice = "a file of rddrs.save_scale is needed; where a run wrote it, delete it and run again"
    with reading(Path(path), advice), safe_open(path, "pt") as file:
        stated = (file.metadata() or {}).get("norm")
        scale = from_tensors({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    if norm is not None and stated not in (None, norm):
        raise ValueError(f"{path} holds a C that was made for norm={stated}, not for {norm}")
    return scale.to(device)
