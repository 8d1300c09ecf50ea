"""scikit-learn's digits, which are embedded: nothing is downloaded."""

import numpy as np
import torch

from rddrs.data.dataset import Dataset


def digits() -> Dataset:
    """scikit-learn's 8 x 8 digits in [0, 1]; a fifth, stratified, is the test set."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    inputs, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(inputs.astype(np.float32) / 16).view(-1, 1, 8, 8)
    train, test = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=0)
    targets = torch.from_numpy(labels)
    parts = images[train], targets[train], images[test], targets[test]
    return Dataset(*parts, classes=10, grid=1 / 16, limits=(0.0, 1.0))
