"""Images from folders, one a class; decoded when they are asked for."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import torch
from PIL import Image, ImageOps

from rddrs.data.dataset import Dataset
from rddrs.data.inputs import BrokenInput, Items


def folder(root: str, size: int | None = None) -> Dataset:
    """The images of `root/train/CLASS/*` and `root/test/CLASS/*` in any format that Pillow reads, in [0, 1].

    Classes are numbered in the order of their names. Images are RGB, or grey where all of them are; with `size` their
    centre is cropped and resized to `size` x `size`. The head of every file is read at once, its pixels when it is
    asked for: a file of which these are broken raises BrokenInput then. Raises ValueError, with the name of the file
    or folder, where one is missing, empty or no image, where the sizes differ, and where the classes of the parts do.
    """
    if size is not None and size < 1:
        raise ValueError(f"data.size={size}: the height and width of an image in pixels is needed, or null")
    files = {part: _files(Path(root) / part) for part in ("train", "test")}
    odd = sorted(files["train"].keys() ^ files["test"].keys())
    if odd:
        here, there = ("train", "test") if odd[0] in files["train"] else ("test", "train")
        raise ValueError(f"{Path(root) / here / odd[0]}: there is no such class in {Path(root) / there}")
    heads = {path: _head(path) for listed in files.values() for paths in listed.values() for path in paths}
    sizes = {shape: path for path, (shape, _) in reversed(heads.items())}
    if size is None and len(sizes) > 1:
        (one, first), (two, second), *_ = sizes.items()
        told = f"{first} has {one[0]} x {one[1]} pixels, {second} {two[0]} x {two[1]}"
        raise ValueError(f"{told}: set data.size to have all images resized and cropped")
    mode = "L" if all(mode in ("1", "L") for _, mode in heads.values()) else "RGB"

    def part(name: str) -> tuple[Items, torch.Tensor]:
        paths = [path for listed in files[name].values() for path in listed]
        labels = [label for label, listed in enumerate(files[name].values()) for _ in listed]
        read = partial(_decoded, paths, size, mode)
        return Items(read, len(paths), name, partial(_content, Path(root), paths, size)), torch.tensor(labels)

    return Dataset(*part("train"), *part("test"), classes=len(files["train"]))


def _files(place: Path) -> dict[str, list[Path]]:
    """The files of every class, in the order of their names."""
    if not place.is_dir():
        raise ValueError(f"{place}: there is no such folder; data.root needs train/CLASS/* and test/CLASS/*")
    found = {
        below.name: sorted(path for path in below.iterdir() if path.is_file() and not path.name.startswith("."))
        for below in sorted(place.iterdir())
        if below.is_dir() and not below.name.startswith(".")
    }
    for name, paths in found.items():
        if not paths:
            raise ValueError(f"{place / name}: the class is empty")
    if len(found) < 2:
        raise ValueError(f"{place}: it holds {len(found)} folders; one for each of at least two classes is needed")
    return found


def _head(path: Path) -> tuple[tuple[int, int], str]:
    """Width and height, and the mode."""
    try:
        with Image.open(path) as image:
            return image.size, image.mode
    except Exception as error:
        raise ValueError(f"{path} is no image that can be read: {error}") from error


def _decoded(paths: list[Path], size: int | None, mode: str, row: int) -> Image.Image:
    try:
        with Image.open(paths[row]) as image:
            found = image.convert(mode)
    except Exception as error:
        raise BrokenInput(f"{paths[row]} is broken: {error}; replace it, or remove it") from error
    return found if size is None else ImageOps.fit(found, (size, size), Image.Resampling.BILINEAR)


def _content(root: Path, paths: list[Path], size: int | None) -> Iterable[bytes]:
    yield f"size {size}".encode()
    for path in paths:
        yield f"\n{path.relative_to(root)}\n".encode()
        yield path.read_bytes()
