"""MNIST and Fashion-MNIST from their four canonical files, and the format that these have."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rddrs.data.dataset import Dataset
from rddrs.data.download import canonical

MNIST_FILES = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
FASHION_FILES = {
    "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}


MNIST_SOURCE = "https://ossci-datasets.s3.amazonaws.com/mnist/"
FASHION_SOURCE = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"


def read_idx(path: Path) -> Tensor:
    """The tensor of bytes in a gzipped idx file; raises ValueError where the file is damaged."""
    try:
        content = gzip.decompress(path.read_bytes())
        zeros, kind, axes = struct.unpack_from(">HBB", content)
        shape = struct.unpack_from(f">{axes}I", content, 4)
        if zeros != 0 or kind != 8:
            raise ValueError("not an idx file of bytes")
        return torch.from_numpy(np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape).copy())
    except (OSError, EOFError, struct.error, zlib.error, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}): delete it to have it downloaded again") from error


def mnist(root: str) -> Dataset:
    """MNIST, 28 x 28 in [0, 1], from the four canonical files in `root`, downloaded there where they are missing.

    Raises ValueError where a file is damaged (its checksum differs), or missing and cannot be downloaded.
    """
    return _idx_images("MNIST", root, MNIST_SOURCE, MNIST_FILES)


def fashion_mnist(root: str) -> Dataset:
    """Fashion-MNIST (Xiao et al. 2017), as `mnist`; its files have the same names: give it a folder of its own."""
    return _idx_images("Fashion-MNIST", root, FASHION_SOURCE, FASHION_FILES)


def _idx_images(title: str, root: str, source: str, checksums: dict[str, str]) -> Dataset:
    found = {name: read_idx(path) for name, path in canonical(title, root, source, checksums).items()}
    images = {part: found[f"{part}-images-idx3-ubyte.gz"].unsqueeze(1) for part in ("train", "t10k")}
    labels = {part: found[f"{part}-labels-idx1-ubyte.gz"] for part in ("train", "t10k")}
    return Dataset(images["train"], labels["train"], images["t10k"], labels["t10k"], classes=10)
