"""MNIST from its four canonical files, and the format that they have."""

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pooch
import torch
from torch import Tensor

from rddrs.data.dataset import Dataset

MNIST_FILES = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}


MNIST_SOURCE = "https://ossci-datasets.s3.amazonaws.com/mnist/"


def read_idx(path: Path) -> Tensor:
    """The tensor of bytes in a gzipped idx file; raises ValueError where the file is damaged."""
    try:
        content = gzip.decompress(path.read_bytes())
        zeros, kind, axes = struct.unpack_from(">HBB", content)
        shape = struct.unpack_from(f">{axes}I", content, 4)
        if zeros != 0 or kind != 8:
            raise ValueError("not an idx file of bytes")
        return torch.from_numpy(np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape).copy())
    except (OSError, EOFError, struct.error, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}): delete it to have it downloaded again") from error


def mnist(root: str) -> Dataset:
    """MNIST, 28 x 28 in [0, 1], from the four canonical files in `root`, downloaded there where they are missing.

    Raises ValueError where a file is damaged (its checksum differs), or missing and cannot be downloaded.
    """
    folder = Path(root)
    files = pooch.create(folder, MNIST_SOURCE, registry=MNIST_FILES, retry_if_failed=0)
    tensors = {}
    for name, checksum in MNIST_FILES.items():
        path = folder / name
        if path.is_file() and pooch.file_hash(str(path)) != checksum:
            raise ValueError(f"{path} is damaged: its sha256 is not {checksum}; delete it to have it downloaded again")
        if not path.is_file():
            try:
                downloader: Any = pooch.HTTPDownloader(timeout=10)
                files.fetch(name, downloader=downloader)
            except Exception as error:
                raise ValueError(
                    f"MNIST: {name} is not in data.root={root} and could not be downloaded ({error}). Put the four "
                    "canonical idx .gz files there, or use the embedded data=digits"
                ) from error
        tensors[name] = read_idx(path)
    images = {part: tensors[f"{part}-images-idx3-ubyte.gz"].float().unsqueeze(1) / 255 for part in ("train", "t10k")}
    labels = {part: tensors[f"{part}-labels-idx1-ubyte.gz"].long() for part in ("train", "t10k")}
    return Dataset(images["train"], labels["train"], images["t10k"], labels["t10k"], classes=10)
