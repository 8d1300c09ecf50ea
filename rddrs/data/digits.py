"""scikit-learn's digits, which are embedded: nothing is downloaded."""

from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import torch

from rddrs.data.dataset import Dataset

TRAIN = 1_437


def digits() -> Dataset:
    """scikit-learn's 8 x 8 digits in [0, 1]; a fifth, stratified, is the test set.

    The file is read without scikit-learn, whose import takes nearly as long as that of torch. `digits.npy` holds the
    order of `train_test_split(range(1797), test_size=0.2, stratify=labels, random_state=0)`: first what is trained on.
    """
    file = str(distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz"))
    table = np.loadtxt(file, delimiter=",", dtype=np.uint8)[np.load(Path(__file__).with_name("digits.npy"))]
    images = torch.from_numpy(table[:, :-1].astype(np.float32) / 16).view(-1, 1, 8, 8)
    labels = torch.from_numpy(table[:, -1].astype(np.int64))
    parts = images[:TRAIN], labels[:TRAIN], images[TRAIN:], labels[TRAIN:]
    return Dataset(*parts, classes=10, grid=1 / 16, limits=(0.0, 1.0))
