"""Answers that hold logits are taken; a classifier without a gradient is told from one that has it."""

from collections import OrderedDict
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from torch import nn

import rddrs
from pipelines.build import held_in
from rddrs.data import digits
from rddrs.models import Logits

WAYS = {
    "output": lambda logits: SimpleNamespace(logits=logits, hidden=None),
    "dictionary": lambda logits: OrderedDict(loss=None, logits=logits),
    "tuple": lambda logits: (logits, None),
}


class Wrapped(nn.Module):
    def __init__(self, way: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.way = nn.Linear(64, 10), way

    def forward(self, inputs):
        return WAYS[self.way](self.linear(inputs.flatten(1)))


@pytest.mark.parametrize("way", WAYS)
def test_logits_are_taken(way):
    network, data = Wrapped(way).eval().requires_grad_(False), digits()
    x, plain = data.test_inputs[0], nn.Sequential(nn.Flatten(), network.linear).eval()
    found = rddrs.certify(network, x, rddrs.Isotropic(0.2, 64), samples=300)
    assert found.counts == rddrs.certify(plain, x, rddrs.Isotropic(0.2, 64), samples=300).counts
    reference = (data.train_inputs[:40], data.train_labels[:40])
    options = {"sigma": 0.2, "reference": reference, "index": 1}
    proposal = rddrs.RDDRS(rounds=1, iterations=2).propose(network, x, **options)
    assert proposal.scale.digest == rddrs.RDDRS(rounds=1, iterations=2).propose(plain, x, **options).scale.digest
    assert held_in(network, data) in ("SimpleNamespace", "OrderedDict", "tuple")
    assert held_in(Logits(network), data) is None and held_in(plain, data) is None


def test_a_forest_has_no_gradient(shapes_unchecked):
    data = digits()
    forest = RandomForestClassifier(5, random_state=0).fit(data.train_inputs[:300].flatten(1), data.train_labels[:300])

    def classifier(inputs):
        return torch.from_numpy(forest.predict_proba(inputs.flatten(1).numpy())).float()

    x = data.test_inputs[0]
    for method in (rddrs.RS(), rddrs.DDRS()):
        assert rddrs.certify_input(classifier, x, sigma=0.2, method=method, samples=200).certificate.counts
    for method in (rddrs.ANCER(), rddrs.DDRS(search="gradient"), rddrs.RDDRS()):
        with pytest.raises(ValueError, match=r"no gradient, which .* needs: take RS or DDRS"):
            method.propose(classifier, x, sigma=0.2, reference=(data.train_inputs[:9], data.train_labels[:9]))
    certificate = rddrs.certify(classifier, x, rddrs.Isotropic(0.2, 64), samples=1_000)
    assert rddrs.audit(classifier, certificate, x, samples=200).flags == () and certificate.radius > 0
    cannot, scale = r"RandomForestClassifier cannot be called: .*predict_proba", rddrs.Isotropic(0.2, 64)
    with pytest.raises(ValueError, match=cannot):
        rddrs.certify(forest, x, scale)
    with pytest.raises(ValueError, match=cannot):
        rddrs.Smoothed(forest, scale)


def test_numpy_reference_is_taken_and_numpy_inputs_are_told(shapes_unchecked):
    data, network = digits(), nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
    x, inputs, labels = data.test_inputs[0], data.train_inputs[:20], data.train_labels[:20]
    array: Any = x.numpy()
    many: Any = inputs.numpy()
    options: dict[str, Any] = {"sigma": 0.2, "method": rddrs.RS(), "samples": 200, "seed": 1}
    expected = rddrs.certify_input(network, x, reference=(inputs, labels), **options)
    found = rddrs.certify_input(network, x, reference=(many, labels.numpy()), **options)
    assert found.record["fidelity"] == expected.record["fidelity"]
    with pytest.raises(ValueError, match="reference"):
        rddrs.certify_input(network, x, reference=(np.array(["a"]), labels.numpy()), **options)
    scale, certificate = rddrs.Isotropic(0.2, 64), rddrs.certify(network, x, rddrs.Isotropic(0.2, 64), samples=200)
    measured = rddrs.fidelity(network, scale, (many, labels.numpy()), sigma=0.2)
    assert measured == rddrs.fidelity(network, scale, rddrs.Reference(inputs, labels), sigma=0.2)
    assert rddrs.audit(network, certificate, x, reference=(many, labels.numpy()), samples=200).flags == ()
    eye: Any = np.eye(2)
    for call in (
        lambda: rddrs.Full(eye),
        lambda: rddrs.Diagonal(eye[0]),
        lambda: rddrs.Kronecker([eye], torch.ones(2)),
        lambda: rddrs.audit(network, certificate, array),
        lambda: certificate.contains(many),
        lambda: rddrs.Memory().find(array),
        lambda: rddrs.certify(lambda u: network(u).detach().numpy(), x, scale),
        lambda: rddrs.certify(network, array, rddrs.Isotropic(0.2, 64)),
        lambda: rddrs.certify_input(network, array, **options),
        lambda: rddrs.RS().propose(network, array, sigma=0.2),
        lambda: rddrs.Smoothed(network, rddrs.Isotropic(0.2, 64)).predict(many),
    ):
        with pytest.raises(ValueError, match=r"torch\.from_numpy"):
            call()
