"""Inputs of camera size: every step of the walk on a tiny network, and no tensor of the size of a d x d matrix."""

import math
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from rddrs import (
    ANCER,
    DDRS,
    RDDRS,
    RS,
    GlobalScale,
    Isotropic,
    Kronecker,
    Memory,
    Method,
    Reference,
    attack,
    certify,
    contradictions,
)
from rddrs.data import Stored
from rddrs.noise import load_scale, save_scale
from rddrs.report import portrait
from rddrs.training.cotraining import grow, mean_radius, pilot
from rddrs.trust import overlaps

SHAPES = {"cifar": (3, 32, 32), "imagenet": (3, 224, 224)}


class Colour(nn.Module):
    """Two classes: is the image, averaged over its pixels, more red or more blue? The other directions are ignored."""

    def forward(self, inputs):
        means = 20 * inputs.mean(dim=(2, 3))
        return torch.stack([means[:, 0], means[:, 2]], dim=1)


@pytest.fixture(params=SHAPES.values(), ids=list(SHAPES))
def setting(request):
    torch.manual_seed(0)
    shape = request.param
    source = torch.Generator().manual_seed(0)
    labels = torch.arange(8) % 2
    inputs = 0.1 * torch.rand(8, *shape, generator=source)
    inputs[labels == 0, 0] += 0.3
    inputs[labels == 1, 2] += 0.3
    return Colour().requires_grad_(False).eval(), inputs, Reference(inputs, labels), math.prod(shape)


SMALL: dict[str, Any] = {"samples": 4, "iterations": 2, "outer": 8, "guard": 0.0}
METHODS: dict[str, Method] = {
    "rs": RS(),
    "ddrs": DDRS(),
    "ancer": ANCER(samples=4, iterations=2),
    "rddrs_global": GlobalScale(**SMALL, inputs=2, rounds=2),
    "rddrs": RDDRS(**SMALL),
    "rddrs dct": RDDRS(**SMALL, start="isotropic", basis="dct"),
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_method_takes_large_inputs_and_no_dense_matrix(setting, method, tmp_path, no_dense_tensors):
    network, inputs, reference, dim = setting
    x = inputs[0]
    if isinstance(method, RDDRS) and method.shared_scale is not None:
        factors = [torch.linalg.qr(torch.randn(size, size)).Q for size in x.shape]
        known = Kronecker(factors, torch.linspace(0.25, 0.3, dim).view(x.shape))
        method.shared_scale.adopt(network, known, sigma=0.25)
    with no_dense_tensors(dim):
        proposal = method.propose(network, x, sigma=0.25, reference=reference, sigma_x=0.25, batch=8)
        assert proposal.status == "done"
        save_scale(proposal.scale, tmp_path / "scale.safetensors")
        scale = load_scale(tmp_path / "scale.safetensors")
        assert isinstance(scale, Kronecker) == hasattr(method, "structure")
        certificate = certify(network, x, scale, samples=64, batch=8)
        assert certificate.prediction == 0
        assert certificate.ball_radius >= 0.25 * certificate.radius * (1 - 1e-5)
        assert certificate.contains(inputs[:2]).tolist() == [True, False]
        assert contradictions(certificate, reference) == 0
        portrait(x, scale)


def test_growth_attack_and_memory_take_large_inputs_and_no_dense_matrix(setting, monkeypatch, no_dense_tensors):
    network, inputs, reference, dim = setting
    for name, value in {"DRAWS": 8, "OUTER": 16}.items():
        monkeypatch.setattr(f"rddrs.training.cotraining.{name}", value)
    start = Isotropic(0.25, dim)
    with no_dense_tensors(dim):
        least = 0.9 * mean_radius(network, reference, start.spread(pilot(start, inputs, 0)))
        growing = partial(grow, network, Stored(inputs), reference.labels, reference, start, floor=0.25, growth=2.0)
        grown, own = growing(least_radius=least), growing(least_radius=least, basis="dct")
        assert isinstance(grown, Kronecker) and grown.geometric_mean > 0.3
        memory = Memory(shadows=4)
        for index, scale in enumerate([grown, grown, own]):
            certificate = certify(network, inputs[index], scale, samples=64, batch=8, index=index)
            found = memory.admit(replace(certificate, radius=10.0 if index == 0 else 1e4)).certificate
            attack(network, found, reference=reference, samples=16, steps=2, draws=2, random_points=1, screening=8)
            assert 0 < found.radius < 1e4
        kept = [memory.read(index).certificate for index in range(3)]
    assert overlaps(kept) == []
    whitened = grown.whiten((inputs[1] - inputs[0]).flatten()[None].double()).norm().item()
    assert kept[1].radius == pytest.approx(whitened - 10, rel=1e-6)  # of the same C: balls in whitened space
