"""Certificates in l1 against what is known in closed form, by quadrature, and of ANCER's l1 variant."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from scipy.integrate import quad

from rddrs import (
    ANCER,
    DDRS,
    RDDRS,
    RS,
    Diagonal,
    GlobalScale,
    Isotropic,
    Memory,
    RDDRSPaper,
    Reference,
    audit,
    certify,
    certify_input,
)
from rddrs.certification import Terms, certified_severity
from rddrs.methods.papers import gap
from rddrs.noise import Purpose, Stream, family_of
from rddrs.smoothing import SmoothedClassifier, hard_counts
from rddrs.threats import PERTURBATIONS
from rddrs.trust import overlaps

KINDS = ["isotropic", "diagonal", "full", "kronecker"]
MILLION = 1_000_000


def probability(weight, margin):
    """P[weight . u + margin > 0], u uniform on [-1, 1]^2, by quadrature over the first entry."""
    first, second = weight.tolist()
    if abs(second) < 1e-9:
        first, second = second, first
    kinks = [] if first == 0 else sorted({(side * abs(second) - margin) / first for side in (-1, 1)})
    inside = [kink for kink in kinks if -1 < kink < 1]

    def share(u):
        return min(max((1 + (first * u + margin) / abs(second)) / 2, 0.0), 1.0)

    return quad(share, -1, 1, points=inside or None, epsabs=1e-12)[0] / 2


def exact(classifier, x, scale):
    """The exact probability of class 1 of a linear classifier of the plane."""
    weight = classifier.weight.double()
    margin = (weight @ x.flatten().double() + classifier.bias).item()
    return probability(scale.extent(weight[None])[0], margin)


def placed(oracle, radius):
    """The oracle's classifier with the bias at which rho is `radius`."""
    low, high = -10.0, 10.0
    weight_x = (oracle.classifier.weight @ oracle.x.flatten()).item()
    for _ in range(60):
        middle = (low + high) / 2
        oracle.classifier.bias = middle - weight_x
        low, high = (
            (low, middle) if 2 * exact(oracle.classifier, oracle.x, oracle.scale) - 1 > radius else (middle, high)
        )
    return oracle.classifier


def test_a_step_on_the_line_in_closed_form(linear):
    """F = 1[x > 0] under sigma u: p = (1 + x / sigma) / 2, so that the region ends where F changes, at rho = x / sigma.

    The bound is 4.4e-4 below, and its standard deviation 1.4e-4: false alarms of 1e-4 for this fixed seed.
    """
    classifier, x, sigma = linear(torch.ones(1), 0.0), torch.tensor([0.495]), 0.5
    found = certify(classifier, x, Isotropic(sigma, 1), samples=MILLION, batch=4096, norm="l1")
    assert 0.99 - 1e-3 < found.radius <= 0.99
    assert found.ball_radius == found.proxy_radius == pytest.approx(found.radius * sigma)
    assert found.log_volume == pytest.approx(math.log(2 * found.radius * sigma))
    assert not found.contains(torch.zeros(1, 1)).any()


@pytest.mark.parametrize("kind", KINDS)
def test_linear_classifiers_of_the_plane_by_quadrature(oracle_of, kind):
    """2 p - 1 to 1e-3 at n = 10^6, five of its standard deviations at p = 0.99, and the certificate below it."""
    oracle = oracle_of(kind, 2, radius=1.0, seed=3)
    classifier = placed(oracle, 0.98)
    draws = Stream(0, 0, Purpose.VERDICT).draws(MILLION, 4096)
    counts = hard_counts(SmoothedClassifier(classifier, oracle.scale, "l1"), oracle.x, draws)
    rho = 2 * exact(classifier, oracle.x, oracle.scale) - 1
    assert 2 * counts[1].item() / MILLION - 1 == pytest.approx(rho, abs=1e-3)
    found = certify(classifier, oracle.x, oracle.scale, samples=20_000, norm="l1")
    assert 0.97 < found.radius < rho


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_no_corner_of_the_exact_region_has_another_class(oracle_of, kind, seed):
    oracle = oracle_of(kind, 2, radius=1.0, seed=seed)
    classifier = placed(oracle, 0.3 + 0.2 * seed)
    rho = 2 * exact(classifier, oracle.x, oracle.scale) - 1
    corners = rho * torch.cat([torch.eye(2), -torch.eye(2)]).double()
    points = oracle.x.double() + oracle.scale.spread(corners)
    assert min(exact(classifier, point, oracle.scale) for point in points) >= 0.5 - 1e-9


def test_the_measures_are_those_of_ancers_l1_variant(linear):
    """rho = 2 p_A - 1, or p_A - p_B; proxy rho (prod theta)^(1/d); volume (2 rho)^d / d! prod theta."""
    theta = torch.tensor([0.2, 0.5, 0.9])
    found = certify(linear(torch.ones(3), 0.3), torch.zeros(3), Diagonal(theta), samples=5_000, norm="l1")
    rho = 2 * found.p_lower - 1
    assert found.radius == rho > 0
    assert found.proxy_radius == pytest.approx(rho * theta.double().prod().item() ** (1 / 3))
    assert found.log_volume == pytest.approx(math.log((2 * rho) ** 3 / 6 * theta.double().prod().item()))
    assert found.ball_radius == pytest.approx(rho * 0.2)
    inside = torch.tensor([[0.199, 0, 0], [0, 0.499, 0], [0.1, 0.249, 0], [0.1, 0.2, 0.1]]) * rho
    assert found.contains(inside).tolist() == [True, True, True, False]
    assert gap(torch.tensor([0.1, 0.7, 0.2]), 1, "l1").item() == pytest.approx(0.7 - 0.2)


@pytest.mark.parametrize("method", [RS, DDRS, partial(ANCER, iterations=5), GlobalScale, RDDRS])
def test_every_method_proposes_for_l1(oracle_of, method):
    oracle = oracle_of("isotropic", 6, radius=0.9, seed=2)
    inputs = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
    reference = Reference(inputs, oracle.classifier(inputs).argmax(dim=1))
    found = certify_input(
        oracle.classifier,
        oracle.x,
        sigma=0.3,
        method=method(norm="l1"),
        reference=reference,
        norm="l1",
        samples=2_000,
        label=1,
    )
    assert found.proposal.status in ("done", "stalled") and found.certificate.radius > 0
    assert found.record["norm"] == found.certificate.norm == "l1" and found.certificate.prediction == 1
    assert found.certificate.radius <= 1 and found.certificate.scale.eigenvalues[0] > 0.149


def test_what_makes_no_sense_is_refused(oracle_of):
    oracle = oracle_of("isotropic", 6, radius=0.9)
    with pytest.raises(ValueError, match="method=rddrs_paper is of Gaussian noise and l2 alone"):
        RDDRSPaper(norm="l1").propose(oracle.classifier, oracle.x, sigma=0.3)
    with pytest.raises(ValueError, match="it proposes for norm=l2, not for l1"):
        certify_input(oracle.classifier, oracle.x, sigma=0.3, method=RS(), norm="l1")


@pytest.mark.parametrize("kind", KINDS)
def test_a_target_radius_is_that_of_the_l1_ball(oracle_of, kind):
    oracle = oracle_of(kind, 2, radius=1.0, seed=3)
    classifier = placed(oracle, 0.8)
    ball = family_of("l1").ball(oracle.scale.to("cpu", torch.float32))
    options = {"samples": 20_000, "norm": "l1"}
    near, far = (certify(classifier, oracle.x, oracle.scale, target_radius=it * ball, **options) for it in (0.7, 0.9))
    assert (near.decision, far.decision) == ("yes", "no")
    assert 0.7 * ball <= near.ball_radius < 0.7 * ball * (1 + 1e-6)
    beyond = certify(classifier, oracle.x, oracle.scale, target_radius=1.1 * ball, **options)
    assert beyond.decision != "yes" and beyond.radius == 0


def test_the_severity_of_a_change_of_brightness(linear):
    """Every entry moves by s: |s / sigma|_1 = d s / sigma < rho."""
    found = certify(linear(torch.ones(4), 0.5), torch.zeros(4), Isotropic(0.5, 4), samples=5_000, norm="l1")
    (brightness,) = (it for it in PERTURBATIONS if it.name == "brightness")
    assert certified_severity(found, brightness).size == pytest.approx(found.radius * 0.5 / 4, rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_the_audit_passes_honest_certificates_and_names_lies(oracle_of, kind):
    """False alarms of 2e-4 a certificate, of a fixed seed."""
    oracle = oracle_of(kind, 12, radius=0.3, seed=1)
    options = {"samples": 3_000, "norm": "l1"}
    found = certify(oracle.classifier, oracle.x, oracle.scale, **options)
    terms = Terms(samples=3_000, norm="l1")
    assert 0.1 < found.radius < 1
    assert audit(oracle.classifier, found, oracle.x, terms=terms, samples=2_000).flags == ()
    lie = replace(found, radius=(1 + found.radius) / 2)
    assert {"radius", "recount"} <= set(audit(oracle.classifier, lie, oracle.x, terms=terms, samples=4_000).flags)
    gaussian = replace(found, norm="l2")
    assert {"terms"} <= set(audit(oracle.classifier, gaussian, oracle.x, terms=terms, samples=500).flags)
    assert {"counts"} <= set(audit(oracle.classifier, gaussian, oracle.x, samples=500).flags)


def test_an_attack_finds_the_corner_beyond_a_false_region(linear):
    """Along the axis of the largest weight the class changes first; a region that reaches there is broken."""
    weight = torch.tensor([0.1, 1.0, 0.1, 0.1])
    found = certify(linear(weight, 0.45), torch.zeros(4), Isotropic(0.5, 4), samples=3_000, norm="l1")
    assert audit(linear(weight, 0.45), replace(found, radius=0.99), found.x, samples=2_000).flags[-1] == "attack"


def test_the_memory_keeps_regions_of_l1_apart(linear):
    """Two inputs on either side of a boundary, with certificates that are made to overlap: the second is shrunk."""
    classifier, scale = linear(torch.ones(3), 0.0), Isotropic(0.5, 3)
    sides = enumerate((0.2, -0.2))
    made = [certify(classifier, it * torch.ones(3), scale, samples=500, index=i, norm="l1") for i, it in sides]
    memory = Memory()
    first, second = (memory.admit(replace(it, radius=1.8)) for it in made)
    assert (first.reason, second.reason) == ("", "shrunk by 0")
    assert first.certificate.radius + second.certificate.radius == pytest.approx(3 * 0.4 / 0.5)
    assert overlaps([first.certificate, second.certificate]) == []
    assert memory.predict(0.2 * torch.ones(3)) == 1 and memory.find(torch.full((3,), 9.0)) is None
    with pytest.raises(ValueError, match="the memory holds regions of l1, not of l2"):
        memory.admit(replace(made[0], index=2, norm="l2"))
