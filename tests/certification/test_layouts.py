"""Certificates of inputs in every layout in memory, and certificates that own their numbers."""

from dataclasses import replace

import pytest
import torch
from scipy.stats import binom

from rddrs import Diagonal, Full, Isotropic, Kronecker, audit, certify
from rddrs.methods import RS
from rddrs.noise import Purpose, Stream
from rddrs.smoothing import SmoothedClassifier, hard_counts
from tests.layouts import LAYOUTS, SHAPE

KINDS = ["isotropic", "diagonal", "full", "kronecker"]
DIM = torch.Size(SHAPE).numel()


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_no_layout_changes_a_count(linear, scale_of, kind, dtype, layout):
    source = torch.Generator().manual_seed(0)
    x = layout(torch.randn(SHAPE, generator=source, dtype=dtype))
    still, scale = x.clone(memory_format=torch.contiguous_format), scale_of(kind, DIM, dtype=dtype)
    weight = torch.randn(DIM, generator=source, dtype=dtype)
    network = linear(weight, -(weight @ still.flatten()).item())
    found, expected = (certify(network, each, scale, samples=1_000) for each in (x, still))
    assert found.counts == expected.counts and 0 < found.counts[0] < 1_000
    assert found.selection_counts == expected.selection_counts
    smoothed, draws = SmoothedClassifier(network, scale), Stream(5, 0, Purpose.PILOT).draws(500, 256)
    assert torch.equal(*(hard_counts(smoothed, each, draws) for each in (x, still)))
    assert "counts" not in audit(network, found, x, samples=200).flags
    assert RS().propose(network, x, sigma=0.3).scale.dim == DIM


def test_certificates_of_any_layout_and_scale_are_true(linear, scale_of):
    """2,000 linear classifiers, whose exact radius is known: a certificate is false for a share alpha at most.

    False alarm: one in 10^6, the seeds are fixed.
    """
    alpha, cases = 0.01, 2_000
    combinations = [(kind, layout) for kind in KINDS for layout in LAYOUTS.values()]
    source = torch.Generator().manual_seed(0)
    scales = {kind: scale_of(kind, DIM) for kind in KINDS}
    false = certified = 0
    for index in range(cases):
        kind, layout = combinations[index % len(combinations)]
        x, weight = layout(torch.randn(SHAPE, generator=source)), torch.randn(DIM, generator=source)
        scale = scales[kind]
        spread = torch.linalg.vector_norm(scale.matrix.double() @ weight.double()).item()
        network = linear(weight, spread - (weight.double() @ x.reshape(-1).double()).item())
        options = {"samples": 300, "selection_samples": 20, "alpha": alpha, "batch": 300}
        certificate = certify(network, x, scale, index=index, **options)
        certified += certificate.prediction == 1
        false += certificate.prediction == 0 or certificate.radius > network.radius(x, certificate.scale)
    assert certified > 0.99 * cases
    assert false <= binom.isf(1e-6, cases, alpha)


@pytest.mark.parametrize("kind", KINDS)
def test_no_later_change_reaches_a_certificate(oracle_of, kind):
    oracle = oracle_of(kind, 6, radius=1.0)
    matrix = oracle.scale.matrix.float()
    given = {
        "isotropic": lambda: Isotropic(0.3, 6),
        "diagonal": lambda: Diagonal(theta),
        "full": lambda: Full(matrix),
        "kronecker": lambda: Kronecker(factors, values),
    }
    factors, values = [torch.eye(2), torch.eye(3)], matrix.diagonal().clone().view(2, 3)
    theta, x = matrix.diagonal().clone(), oracle.x.clone().requires_grad_()
    points = oracle.x + 0.4 * oracle.scale.spread(torch.randn(200, 6, generator=torch.Generator().manual_seed(0)))
    certificate = certify(oracle.classifier, x, given[kind](), samples=1_000)

    def claim():
        it = certificate
        fresh = replace(it)  # nothing that is computed once hides a change
        tensors = [tensor.tolist() for tensor in it.scale.tensors().values()]
        return it.x.tolist(), tensors, it.ball_radius, it.proxy_radius, fresh.contains(points).tolist()

    before = claim()
    assert 0 < sum(before[-1]) < 200
    for numbers in (
        x.data,
        theta,
        matrix,
        values,
        *factors,
        certificate.scale.matrix,
        *certificate.scale.tensors().values(),
    ):
        numbers.mul_(10)
    assert claim() == before
    assert not certificate.x.requires_grad and certificate.x.is_contiguous()


def test_an_isotropic_scale_is_certified_in_the_precision_that_it_is_sampled_in():
    x, network = torch.zeros(2), lambda inputs: torch.tensor([0.0, 1.0]).expand(len(inputs), 2)
    single, double = (certify(network, each, Isotropic(0.1, 2), samples=100) for each in (x, x.double()))
    assert single.scale.geometric_mean == torch.tensor(0.1).item() > 0.1 == double.scale.geometric_mean
    assert single.ball_radius == single.radius * torch.tensor(0.1).item()
    assert torch.equal(single.scale.whiten(torch.full((1, 2), 0.1)), torch.ones(1, 2, dtype=torch.float64))
