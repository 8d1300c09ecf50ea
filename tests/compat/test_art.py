"""A smoothed classifier inside the Adversarial Robustness Toolbox, where that is installed (extra `benchmarks`)."""

import numpy as np
import pytest
import torch

import rddrs
from rddrs.compat import art_estimator


def test_an_estimator_is_attacked_and_certifies(linear):
    evasion = pytest.importorskip("art.attacks.evasion")
    classifier = linear(torch.tensor([1.0, -0.5, 0.25]), 0.3)
    smoothed = rddrs.Smoothed(classifier, rddrs.Isotropic(0.5, 3))
    estimator = art_estimator(smoothed, (3,), 2, clip_values=(-4.0, 4.0), samples=400, seed=0)
    x = np.array([[1.0, 0.1, -0.3], [-1.0, 0.0, 0.2], [-0.3, 0.0, 0.0]], np.float32)
    shares = estimator.predict(x)
    assert shares[:2].sum(axis=1) == pytest.approx(1) and shares[:2].argmax(axis=1).tolist() == [1, 0]
    assert shares[2].tolist() == [0, 0]  # on the boundary it abstains
    classes, radii = estimator.certify(x, n=2_000)
    margins = np.abs(x @ [1.0, -0.5, 0.25] + 0.3) / np.linalg.norm([1.0, -0.5, 0.25])
    assert classes.tolist() == [1, 0, -1] and (radii <= margins).all() and (radii[:2] > 0.7 * margins[:2]).all()
    found = evasion.HopSkipJump(estimator, max_iter=2, max_eval=100, init_eval=10, verbose=False).generate(x[:2])
    assert estimator.predict(found).argmax(axis=1).tolist() == [0, 1]
    assert (np.linalg.norm(found - x[:2], axis=1) > radii[:2]).all()
