"""A smoothed classifier as an estimator of the Adversarial Robustness Toolbox, for its black-box attacks."""

import os
from typing import Any

import numpy as np
import torch
from numpy import ndarray

from rddrs.certification import Smoothed


def art_estimator(
    smoothed: Smoothed,
    shape: tuple[int, ...],
    classes: int,
    clip_values: tuple[float, float] | None = None,
    samples: int = 1000,
    alpha: float = 1e-3,
    seed: int | None = None,
) -> Any:
    """An ART `BlackBoxClassifierNeuralNetwork` that answers as G_C, with the `certify` of ART's smoothed estimators.

    `predict(x)` gives the share of each class in `samples` draws around each input of that `shape`, and zeros where
    they cannot tell the first at confidence 1 - alpha, as ART's own; draws are fresh without a `seed`. `certify(x, n)`
    gives classes, -1 for an abstention, and the radii of the largest balls in its norm. It has no gradient.
    Raises ImportError without ART (`pip install adversarial-robustness-toolbox`).
    """
    from art.estimators.classification import BlackBoxClassifierNeuralNetwork  # pyright: ignore[reportMissingImports]

    def answers(x: ndarray) -> ndarray:
        found = smoothed.predictions(torch.from_numpy(np.ascontiguousarray(x, np.float32)), samples, alpha, seed)
        return (found.counts * (found.classes >= 0)[:, None]).numpy() / samples

    class Estimator(BlackBoxClassifierNeuralNetwork):
        def certify(self, x: ndarray, n: int, batch_size: int = 256) -> tuple[ndarray, ndarray]:
            """The class and the radius of every input, from `n` draws."""
            rows = list(torch.from_numpy(np.ascontiguousarray(x, np.float32)))
            key = int.from_bytes(os.urandom(8), "little") if seed is None else seed
            found = smoothed.certify(rows, samples=n, alpha=alpha, batch=batch_size, seed=key)
            return np.array([it.prediction for it in found]), np.array([it.ball_radius for it in found])

    return Estimator(answers, shape, classes, clip_values=clip_values)
