"""Arguments that strangers give by mistake: one sentence names each, and says what would be right."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression
from torch import nn

import rddrs
from rddrs.certification import certified_severities
from rddrs.compat import Smooth, SmoothedClassifier

torch.manual_seed(0)
NETWORK = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval()
X, INPUTS, LABELS = torch.rand(4), torch.rand(6, 4), torch.arange(6) % 3
SCALE = rddrs.Isotropic(0.5, 4)
SMOOTHED: Any = rddrs.Smoothed(NETWORK, SCALE)
CERTIFICATE = rddrs.certify(NETWORK, X, SCALE, samples=100)

Isotropic: Any = rddrs.Isotropic
Smoothed: Any = rddrs.Smoothed
Classifier: Any = SmoothedClassifier
SMOOTH: Any = Smooth(NETWORK, 3, 0.5)


def certified(**changes: Any):
    terms: dict[str, Any] = {"sigma": 0.5, "reference": (INPUTS, LABELS), "method": rddrs.RS(), "samples": 100}
    return rddrs.certify_input(NETWORK, X, **terms | changes)


def carded(**card: Any):
    Smoothed(NETWORK, SCALE, card=card).save("model.rddrs")


def path(smoothed: Any = SMOOTHED, low: Any = -0.01, high: Any = 0.01, perturbation: Any = "brightness"):
    return rddrs.certify_path(smoothed, X, perturbation, low, high, samples=100)


def own(function: Any = lambda x, s: x + s, limit: float = 1.0, variation: Any = lambda x, low, high: 1.0):
    return rddrs.Perturbation("mine", function, limit, images=False, variation=variation)


PATH = path()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rddrs.Isotropic(0.5, 0), "dim=0: the number of an input's entries"),
        (lambda: Isotropic(0.5, (2, 2)), "dim=(2, 2): the number of an input's entries"),
        (lambda: rddrs.Diagonal(torch.ones(2, 2)), "theta has the shape [2, 2]: a vector is needed"),
        (lambda: rddrs.Smoothed(NETWORK, SCALE, grid=-1.0), "grid=-1.0: a finite step above 0"),
        (lambda: Smoothed(NETWORK, SCALE, grid="1/255"), "grid='1/255': a finite step above 0"),
        (lambda: SMOOTHED.predict(INPUTS, samples=1.5), "samples must be a whole number, not 1.5"),
        (lambda: SMOOTHED.predict(INPUTS, samples=True), "samples must be a whole number, not True"),
        (lambda: SMOOTHED.predict(INPUTS, batch=True), "batch must be a whole number, not True"),
        (lambda: SMOOTHED.predict(INPUTS, samples=10**12), "samples must be at most 2147483520, not 1000000000000"),
        (lambda: SMOOTHED.predict(INPUTS, alpha="0.1"), "alpha must be between 0 and 1, not '0.1'"),
        (lambda: SMOOTHED.predict(INPUTS, alpha=None), "alpha must be between 0 and 1, not None"),
        (lambda: SMOOTHED.predict(INPUTS, seed=1.5), "seed must be a whole number, not 1.5"),
        (lambda: SMOOTHED.certify(INPUTS, index=1.5, samples=10), "index must be a whole number, not 1.5"),
        (lambda: certified(index=1.5), "index must be a whole number, not 1.5"),
        (
            lambda: SMOOTHED.predict(INPUTS, seed=np.random.RandomState(0)),
            "seed must be a whole number, not RandomState",
        ),
        (lambda: SMOOTHED.predict([X, torch.rand(5)]), "inputs of the shapes (4,), (5,): one shape"),
        (lambda: carded(a=torch.ones(2)), "card: Object of type Tensor is not JSON serializable: texts, numbers"),
        (lambda: carded(shape=[5]), "card: shape=[5]: the sizes of an input of 4 entries are needed, a list"),
        (lambda: carded(shape=4), "card: shape=4: the sizes"),
        (lambda: Smoothed(NETWORK, SCALE, grid=True), "grid=True: a finite step above 0"),
        (lambda: SMOOTH.predict(np.ones(4), 10, 0.1, 10), "x is a ndarray, not a torch.Tensor"),
        (lambda: Classifier(sigma=None).fit(np.eye(4), [0, 1, 0, 1]), "sigma=None: a number above 0"),
        (lambda: SMOOTHED.save("model.rddrs", shape=(5,)), "shape=[5] has 5 entries, the scale 4"),
        (lambda: CERTIFICATE.contains(X), "points of shape [4]: [n, 4] is needed; one point is point[None]"),
        (lambda: CERTIFICATE.contains(torch.rand(2, 5)), "points of shape [2, 5]: [n, 4] is needed"),
        (lambda: certified(method="rs"), "method='rs': what proposes C is needed, as rddrs.RDDRS()"),
        (lambda: certified(method=rddrs.RS), "what proposes C is needed"),
        (lambda: certified(sigma="0.5"), "sigma must be a finite and positive number, not '0.5'"),
        (lambda: certified(reference=INPUTS), "reference: a pair (inputs, labels) is needed, not a Tensor"),
        (
            lambda: certified(reference=(INPUTS, LABELS.float())),
            "torch.float32 and shape [6]: a whole number",
        ),
        (lambda: certified(reference=(INPUTS, nn.functional.one_hot(LABELS))), "shape [6, 3]: a whole number"),
        (lambda: certified(reference=(INPUTS, LABELS + 1)), "the largest label is 3, of 3 classes that count from 0"),
        (lambda: certified(reference=(INPUTS[:1], LABELS[:1])), "reference: at least two inputs are needed"),
        (lambda: path(NETWORK), "smoothed is a Sequential: a rddrs.Smoothed is needed"),
        (lambda: path(low="-0.01"), "severities must be numbers, not '-0.01'"),
        (lambda: path(perturbation=own()), "mine's variation must keep the input's shape (4,), not make it ()"),
        (lambda: own(limit=-1.0), "mine: limit=-1.0: the largest severity, above 0"),
        (lambda: certified_severities(CERTIFICATE, (own(), own())), "perturbations: mine, mine: every name once"),
        (lambda: own(function=3), "mine: function=3 cannot be called"),
        (lambda: own(variation=3), "mine: variation=3 cannot be called with (x, low, high)"),
        (lambda: path(perturbation=own(lambda x, s: x + 1j * s)), "mine gives complex numbers: real ones are needed"),
        (lambda: PATH.covers((0, 0)), "severity=(0, 0): 1 of brightness needed, not 2"),
        (lambda: PATH.contains(X), "points of shape [4]: [n, 4] is needed; one point is point[None]"),
        (lambda: PATH.contains(torch.rand(2, 1)), "points of shape [2, 1]: [n, 4] is needed"),
        (lambda: SmoothedClassifier(LinearRegression()).fit(np.eye(4), [0, 1, 0, 1]), "LinearRegression() is no class"),
        (lambda: rddrs.load_scale(__file__), "a file of rddrs.save_scale is needed"),
    ],
)
def test_an_argument_that_cannot_be_meant_is_named(call, message, shapes_unchecked):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_a_file_that_cannot_be_written_is_called_by_its_own_name(tmp_path: Path):
    for place, named in ((tmp_path / "no" / "scale", tmp_path / "no"), (tmp_path, tmp_path)):
        with pytest.raises(OSError) as told:
            rddrs.save_scale(SCALE, place)
        assert told.value.filename == str(named) and ".part" not in str(told.value)
