"""Data: digits (ships with scikit-learn), MNIST and a toy in the plane; the evaluation subset; the reference set."""

import gzip
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pooch
import torch
from jaxtyping import Float, Int
from torch import Tensor

from rddrs.fidelity import Reference
from rddrs.smoothing import Purpose, generator


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled training and test inputs, each of shape [n, *shape], labels 0 .. classes - 1.

    Raises ValueError where inputs are not finite or counts do not fit.
    """

    train_inputs: Float[Tensor, "n *shape"]
    train_labels: Int[Tensor, " n"]
    test_inputs: Float[Tensor, "m *shape"]
    test_labels: Int[Tensor, " m"]
    classes: int

    def __post_init__(self) -> None:
        for part, inputs, labels in (
            ("train", self.train_inputs, self.train_labels),
            ("test", self.test_inputs, self.test_labels),
        ):
            if len(inputs) != len(labels):
                raise ValueError(f"data: {len(inputs)} {part} inputs but {len(labels)} {part} labels")
            bad = torch.nonzero(~torch.isfinite(inputs.flatten(1)).all(dim=1)).flatten()
            if len(bad):
                raise ValueError(f"data: {part} input {bad[0].item()} holds NaN or infinite entries")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return tuple(self.test_inputs.shape[1:])

    def rotated(self, rotation: Float[Tensor, "d d"]) -> "Dataset":
        """The same data with every flattened input x turned into Q x, Q = `rotation`."""
        turned = {
            name: (inputs.flatten(1) @ rotation.mT).view_as(inputs)
            for name, inputs in {"train_inputs": self.train_inputs, "test_inputs": self.test_inputs}.items()
        }
        return replace(self, **turned)

    def evaluation_indices(self, subset: int | None) -> list[int]:
        """`subset` evenly spaced indices of the test set, from 0; all of them where it is None."""
        count = len(self.test_inputs)
        if subset is None:
            return list(range(count))
        if subset > count:
            raise ValueError(f"data.subset={subset}: the test set has {count} inputs: use fewer, or null for all")
        return [position * count // subset for position in range(subset)]

    def reference(self, size: int, seed: int, part: int = 0) -> Reference:
        """A seeded random choice of `size` training inputs (at most half of them); parts 0 and 1 have none in common.

        Part 0 is for measuring: what a method looks at is part 1, so that its fidelity is not that of what it fitted.
        """
        order = torch.randperm(len(self.train_inputs), generator=generator(seed, 0, Purpose.REFERENCE))
        size = min(size, len(order) // 2)
        chosen = order[part * size : (part + 1) * size]
        return Reference(self.train_inputs[chosen], self.train_labels[chosen])


def random_rotation(dim: int, seed: int) -> Float[Tensor, "d d"]:
    """A seeded orthogonal matrix, float32, from the QR decomposition of a Gaussian one."""
    gaussian = torch.randn(dim, dim, generator=generator(seed, 0, Purpose.ROTATION), dtype=torch.float64)
    return torch.linalg.qr(gaussian).Q.float()


def digits() -> Dataset:
    """scikit-learn's 8 x 8 digits in [0, 1]; a fifth, stratified, is the test set."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    inputs, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(inputs.astype(np.float32) / 16).view(-1, 1, 8, 8)
    train, test = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=0)
    targets = torch.from_numpy(labels)
    return Dataset(images[train], targets[train], images[test], targets[test], classes=10)


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


def toy2d(seed: int = 0, train: int = 3_000, test: int = 300) -> Dataset:
    """Three classes in the plane (the paper's Figure 1): a disc between two arms of a curved band, seeded."""
    source = generator(seed, 0, Purpose.TOY)
    count = train + test
    labels = torch.arange(count) % 3
    along = torch.rand(count, generator=source) * 2 - 1
    centre = torch.stack([3 * along, torch.zeros(count)], dim=1)
    centre[labels == 1, 1] = 1.5 + along[labels == 1] ** 2
    centre[labels == 2, 1] = -1.5 - along[labels == 2] ** 2
    inputs = centre + 0.25 * torch.randn(count, 2, generator=source)
    return Dataset(inputs[:train], labels[:train], inputs[train:], labels[train:], classes=3)
