"""Images from folders, one a class; decoded when they are asked for."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import ExifTags, Image, UnidentifiedImageError

from rddrs.data.dataset import Dataset
from rddrs.data.inputs import BrokenInput, Items
from rddrs.data.pixels import DEEP, GREY, depth, pixels
from rddrs.data.seen import Seen
from rddrs.digests import file_digest

HIDDEN = ("Thumbs.db", "desktop.ini", "__MACOSX", "@eaDir")
"""What systems leave in folders, beside names that begin with a dot."""

Left = dict[str, list[Path]]
"""What is left out, by the reason."""


class Head(NamedTuple):
    """What is known of an image before its pixels are read."""

    size: tuple[int, int]
    grey: bool
    bits: int
    binary: bool
    transparent: bool
    frames: int
    turned: bool


def folder(root: str, size: int | None = None) -> Dataset:
    """The images of `root/train/CLASS/**` and `root/test/CLASS/**` in any format that Pillow reads, in [0, 1].

    Classes are numbered in the order of their names; subfolders of a class belong to it. Images are RGB, or grey where
    all of them are, with 16 bits or in floating point where one of them is; what is transparent is laid on white; with
    `size` their centre is cropped and resized to `size` x `size`. Counts, and files that are hidden, in no class or no
    images, are in `notes`. The head of every file is read at once, its pixels when it is asked for: a file of which
    these are broken raises BrokenInput then. Of a file that is as it was neither the head nor the content, for the
    digest, is read again: see `seen`. Raises ValueError, with the name of the file or folder, where one is
    missing, empty, a link to nothing or damaged, or has a range that is not known, where the sizes differ, and where
    the classes of the parts do.
    """
    if size is not None and size < 1:
        raise ValueError(f"data.size={size}: the height and width of an image in pixels is needed, or null")
    left: Left = defaultdict(list)
    seen = Seen(Path(root))
    heads = {part: _classes(Path(root) / part, left, seen) for part in ("train", "test")}
    seen.keep()
    odd = sorted(heads["train"].keys() ^ heads["test"].keys())
    if odd:
        here, there = ("train", "test") if odd[0] in heads["train"] else ("test", "train")
        raise ValueError(f"{Path(root) / here / odd[0]}: there is no such class in {Path(root) / there}")
    known = {path: head for part in heads.values() for files in part.values() for path, head in files.items()}
    sizes = {head.size: path for path, head in reversed(known.items())}
    if size is None and len(sizes) > 1:
        (one, first), (two, second), *_ = sizes.items()
        told = f"{first} has {one[0]} x {one[1]} pixels, {second} {two[0]} x {two[1]}"
        raise ValueError(f"{told}: set data.size to have all images resized and cropped")
    grey, bits = all(head.grey for head in known.values()), max(head.bits for head in known.values())

    def part(name: str) -> tuple[Items, torch.Tensor]:
        paths = [path for files in heads[name].values() for path in files]
        labels = [label for label, files in enumerate(heads[name].values()) for _ in files]
        read = partial(_decoded, paths, size, grey, bits)
        found = Items(read, len(paths), name, partial(_content, Path(root), paths, size, seen))
        found.binary = size is None and all(known[path].binary for path in paths)
        return found, torch.tensor(labels)

    notes = _notes(root, {name: sum(map(len, files.values())) for name, files in heads.items()}, known, left)
    return Dataset(*part("train"), *part("test"), classes=len(heads["train"]), notes=notes)


def class_names(root: str, size: int | None, digest: str) -> list[str] | None:
    """The names of the classes of `folder(root, size)`; None where it is no more there, or has another digest."""
    try:
        if folder(root, size).digest != digest:
            return None
        return [it.name for it in _visible(Path(root) / "train", defaultdict(list)) if it.is_dir()]
    except (OSError, ValueError):
        return None


def images_below(place: Path) -> tuple[dict[Path, Head], Left]:
    """The images in a folder and those below it, in the order of their names, and what is left out, as of `folder`."""
    left: Left = defaultdict(list)
    found = {path: _read_head(path) for path in _files(place, left)}
    left["no images"] = [path for path, head in found.items() if head is None]
    return {path: head for path, head in found.items() if head is not None}, left


def shown_otherwise(heads: dict[Path, Head], place: Path) -> Iterator[str]:
    """What is read of images below a place that others show otherwise, with the names of the files."""
    for told, found in {
        "images have transparency: they are laid on white": lambda head: head.transparent,
        "files hold several frames: the first is read": lambda head: head.frames > 1,
        "images are to be turned, says their EXIF: they are read as they lie": lambda head: head.turned,
    }.items():
        if paths := [path for path, head in heads.items() if found(head)]:
            yield f"{len(paths)} {told}: {_named(paths, place)}"


def _classes(place: Path, left: Left, seen: Seen) -> dict[str, dict[Path, Head]]:
    """The images of every class, in the order of their names."""
    if not place.is_dir():
        there = sorted(it.name for it in place.parent.iterdir() if it.is_dir()) if place.parent.is_dir() else []
        told = f" (there are {', '.join(there[:5])})" if there else ""
        raise ValueError(f"{place}: there is no such folder{told}; data.root needs train/CLASS/* and test/CLASS/*")
    found = {}
    for below in _visible(place, left):
        if below.is_dir():
            files = list(_files(below, left))
            found[below.name] = {path: head for path in files if (head := _head(path, left, seen)) is not None}
            if not found[below.name]:
                told = f"none of its {len(files)} files is an image" if files else "the class is empty"
                raise ValueError(f"{below}: {told}")
        else:
            left["in no class"].append(below)
    if len(found) < 2:
        raise ValueError(f"{place}: it holds {len(found)} folders; one for each of at least two classes is needed")
    return found


def _visible(place: Path, left: Left) -> Iterator[Path]:
    for below in sorted(place.iterdir()):
        if below.name.startswith(".") or below.name in HIDDEN:
            left["hidden"].append(below)
        elif not below.exists():
            told = "which is not there, or leads back to it"
            raise ValueError(f"{below} is a link to {os.readlink(below)}, {told}: mend it, or remove it")
        elif below.is_symlink() and below.is_dir() and _leads_back(below, place):
            raise ValueError(f"{below} is a link to a folder that it lies in: remove it")
        else:
            yield below


def _leads_back(link: Path, place: Path) -> bool:
    """Whether the place, or a folder that it was reached through, lies in what the link leads to."""
    return any(it.resolve().is_relative_to(link.resolve()) for it in (place, *place.parents))


def _files(place: Path, left: Left) -> Iterator[Path]:
    for below in _visible(place, left):
        if below.is_dir():
            yield from _files(below, left)
        else:
            yield below


def _head(path: Path, left: Left, seen: Seen) -> Head | None:
    """What the head of an image tells; None, and left out, where neither its content nor its name is of an image."""
    found = seen.of(path, "image", _read_head)
    if found is None:
        left["no images"].append(path)
        return None
    (width, height), *others = found
    return Head((width, height), *others)


def _read_head(path: Path) -> Head | None:
    try:
        with Image.open(path) as image:
            grey = image.mode in (*GREY, *DEEP, "I", "F") and not (image.mode == "L" and image.has_transparency_data)
            turned, frames = _turned(image), getattr(image, "n_frames", 1)
            return Head(image.size, grey, depth(image), image.mode == "1", image.has_transparency_data, frames, turned)
    except UnidentifiedImageError as error:
        if path.suffix.lower() in Image.registered_extensions():
            raise ValueError(f"{path} is no image that can be read: {error}") from error
        return None
    except Exception as error:
        raise ValueError(f"{path} is no image that can be read: {error}") from error


def _turned(image: Image.Image) -> bool:
    """Whether its head says, by EXIF, that it is to be turned or mirrored, which Pillow does of TIFF files alone."""
    with suppress(Exception):  # whatever the parser of EXIF raises: no pixel depends on it
        found = Image.Image.getexif(image)  # that of PNG reads the pixels, too
        return image.format != "TIFF" and found.get(ExifTags.Base.Orientation) in range(2, 9)
    return False


def _decoded(paths: list[Path], size: int | None, grey: bool, bits: int, row: int) -> torch.Tensor:
    try:
        with Image.open(paths[row]) as image:
            return pixels(image, grey, bits, size)
    except Exception as error:
        raise BrokenInput(f"{paths[row]} is broken: {error}; replace it, or remove it") from error


def _content(root: Path, paths: list[Path], size: int | None, seen: Seen) -> Iterable[bytes]:
    yield f"size {size}".encode()
    for path in paths:
        yield b"\n" + os.fsencode(path.relative_to(root)) + b"\n"
        yield seen.of(path, "sha256", file_digest).encode()
    seen.keep()


def _notes(root: str, counts: dict[str, int], known: dict[Path, Head], left: Left) -> Iterator[str]:
    yield f"data.root={root}: {counts['train']} training images, {counts['test']} test images"
    for reason, paths in left.items():
        yield f"data.root={root}: left out, {reason}: {_named(paths, Path(root))}"
    yield from (f"data.root={root}: {told}" for told in shown_otherwise(known, Path(root)))


def _named(paths: list[Path], place: Path) -> str:
    names = [os.fsencode(path.relative_to(place)).decode(errors="backslashreplace") for path in paths]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
