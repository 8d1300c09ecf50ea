"""Counts, radii and scales for given weights, seed and index stay what they were in 0.6.0, bit for bit.

`unchanged.json` was written by 0.6.0: `python -m tests.certification.test_unchanged FILE`.
"""

import json
import sys
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from rddrs import ANCER, DDRS, RDDRS, RS, Certificate, GlobalScale, Isotropic, Memory, Method, Reference, certify
from rddrs.data.inputs import Stored
from rddrs.training.cotraining import grow

STORED = Path(__file__).parent / "unchanged.json"
SIGMA = 0.25
SHORT: dict[str, Any] = {"iterations": 4, "outer": 64}


@cache
def problem() -> tuple[nn.Module, Reference, Tensor, Tensor]:
    """A network of two layers for digits in [0, 1], without training; reference inputs; three inputs and their labels.

    Its weights are rounded far above what another machine may round otherwise.
    """
    images, answers = load_digits(return_X_y=True)
    images, answers = np.asarray(images), np.asarray(answers)
    inputs = (images.reshape(-1, 1, 8, 8) / 16).astype(np.float32)
    source = np.random.default_rng(0)
    first = (source.standard_normal((64, 48)) / 8).round(3)
    features = np.maximum(inputs.reshape(-1, 64).astype(float) @ first, 0)
    targets = np.eye(10)[answers] * 2 - 1
    second = np.linalg.solve(features.T @ features + 5 * np.eye(48), features.T @ targets).round(2)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
    with torch.no_grad():
        for layer, weight in ((network[1], first), (network[3], 8 * second)):
            layer.weight.copy_(torch.from_numpy(weight.T))  # pyright: ignore[reportCallIssue]
            layer.bias.zero_()  # pyright: ignore[reportCallIssue]
    data, labels = torch.from_numpy(inputs), torch.from_numpy(answers).long()
    return network.eval().requires_grad_(False), Reference(data[:200], labels[:200]), data[300:303], labels[300:303]


def made(method: Method | None = None, number: int = 0, scale: Any = None, **options: Any) -> Certificate:
    network, reference, inputs, _ = problem()
    if method is not None:
        keyed = {"seed": 3, "index": number}
        scale = method.propose(network, inputs[number], sigma=SIGMA, reference=reference, **keyed).scale
    options = {"samples": 2_000, "seed": 3, "index": number} | options
    return certify(network, inputs[number], scale, **options)


def grown() -> Certificate:
    network, reference, *_ = problem()
    pilots = Reference(reference.inputs[:64], reference.labels[:64])
    bounds: dict[str, Any] = {"floor": SIGMA, "least_radius": 0.5, "growth": 2.0}
    scale = grow(network, Stored(reference.inputs), reference.labels, pilots, Isotropic(SIGMA, 64), seed=3, **bounds)
    return made(scale=scale)


def remembered() -> Certificate:
    memory, certificates = Memory(), [made(ANCER(iterations=4), number) for number in range(3)]
    for number in range(1, 3):
        object.__setattr__(certificates[number], "x", certificates[0].x + 0.2 * certificates[number].x)
    return [memory.admit(each).certificate for each in certificates][-1]


CASES = {
    "rs": partial(made, RS()),
    "ddrs": partial(made, DDRS()),
    "ancer": partial(made, ANCER(iterations=4)),
    "rddrs": partial(made, RDDRS(**SHORT, start="isotropic", guard=0.5)),
    "rddrs kronecker": partial(made, RDDRS(**SHORT, structure="kronecker", start="isotropic", guard=0.5)),
    "rddrs_global": partial(made, GlobalScale(**SHORT, guard=0.5)),
    "rddrs_global kronecker": partial(made, GlobalScale(**SHORT, structure="kronecker", guard=0.5)),
    "growth": grown,
    "l1": partial(made, RS(norm="l1"), norm="l1"),
    "grid": partial(made, RS(), grid=1 / 16),
    "target radius": partial(made, RS(), target_radius=0.1),
    "randomized bound": partial(made, RS(), bound="randomized_clopper_pearson"),
    "small micro-batch": partial(made, RS(), number=2, batch=33),
    "memory": remembered,
}


def stated(certificate: Certificate) -> dict[str, Any]:
    scale = certificate.scale
    return {
        "prediction": certificate.prediction,
        "selection_counts": list(certificate.selection_counts),
        "counts": list(certificate.counts),
        "samples": certificate.samples,
        "radius": certificate.radius,
        "p_lower": certificate.p_lower,
        "proxy_radius": certificate.proxy_radius,
        "least": scale.eigenvalues[0].item(),
        "largest": scale.eigenvalues[-1].item(),
    }


@pytest.mark.parametrize("case", CASES)
def test_counts_are_those_of_0_6_0_bit_for_bit_and_radii_up_to_rounding(case):
    found, stored = stated(CASES[case]()), json.loads(STORED.read_text())[case]
    for name in ("prediction", "selection_counts", "counts", "samples"):
        assert found.pop(name) == stored.pop(name)
    assert found == pytest.approx(stored, rel=1e-6)


if __name__ == "__main__":
    torch.set_num_threads(1)
    Path(sys.argv[1]).write_text(json.dumps({name: stated(make()) for name, make in CASES.items()}, indent=1) + "\n")
