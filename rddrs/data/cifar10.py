"""CIFAR-10 from its canonical archive."""

import pickle
import tarfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rddrs.data.dataset import Dataset
from rddrs.data.download import canonical

CIFAR10_FILES = {"cifar-10-python.tar.gz": "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"}
CIFAR10_SOURCE = "https://www.cs.toronto.edu/~kriz/"


def cifar10(root: str) -> Dataset:
    """CIFAR-10, RGB of 32 x 32 in [0, 1], from the canonical python archive in `root`, downloaded where it is missing.

    Raises ValueError where the archive is damaged (its checksum differs), or missing and cannot be downloaded.
    """
    (path,) = canonical("CIFAR-10", root, CIFAR10_SOURCE, CIFAR10_FILES).values()
    train, test = ([f"data_batch_{number}" for number in range(1, 6)], ["test_batch"])
    return Dataset(*read_batches(path, train), *read_batches(path, test), classes=10)


def read_batches(path: Path, names: list[str]) -> tuple[Tensor, Tensor]:
    """Images as bytes [n, 3, 32, 32] and labels; pickles run code: only of an archive whose checksum was verified."""
    images, labels = [], []
    with tarfile.open(path) as archive:
        for name in names:
            member = archive.extractfile(f"cifar-10-batches-py/{name}")
            assert member is not None
            batch = pickle.load(member, encoding="bytes")
            images.append(batch[b"data"])
            labels += batch[b"labels"]
    return torch.from_numpy(np.concatenate(images).reshape(-1, 3, 32, 32)), torch.tensor(labels)
