"""The audit of certificates: honest ones pass, planted lies are flagged."""

import math
from copy import copy
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import norm

import rddrs.data
from rddrs.certification import ABSTAIN, Certificate, Terms, certified_severity, certify
from rddrs.models.perceptron import Perceptron
from rddrs.noise import Purpose, Stream
from rddrs.noise.diagonal import Diagonal
from rddrs.noise.full import Full
from rddrs.noise.isotropic import Isotropic
from rddrs.noise.scale import Scale
from rddrs.smoothing.bounds import clopper_pearson
from rddrs.smoothing.counts import hard_counts
from rddrs.smoothing.fidelity import Reference
from rddrs.threats import Perturbation, Threat
from rddrs.trust.attack import attack, attack_along
from rddrs.trust.audit import audit, count_differences, recomputed_radius, recount

SAMPLES, SELECTION = 3000, 50


@cache
def digits():
    """A perceptron trained for a second on digits under noise of 0.25, the test inputs, and a reference set."""
    data = rddrs.data.digits()
    torch.manual_seed(0)
    classifier = Perceptron((1, 8, 8), 10)
    optimizer = torch.optim.Adam(classifier.parameters(), 3e-3)
    for _ in range(8):
        for part in torch.randperm(len(data.train_inputs)).split(64):
            inputs = data.train_inputs[part]
            loss = torch.nn.functional.cross_entropy(
                classifier(inputs + 0.25 * torch.randn(inputs.shape)), data.train_labels[part]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return classifier.requires_grad_(False).eval(), data.test_inputs[:], data.reference(200, 0)


def shape(index: int) -> Scale:
    """An isotropic, a diagonal or a full scale with eigenvalues in [0.2, 1.6]."""
    source = torch.Generator().manual_seed(index)
    values = torch.linspace(0.2, 1.6 if index % 3 == 2 else 0.4, 64)
    if index % 3 == 0:
        return Isotropic(0.3, 64)
    if index % 3 == 1:
        return Diagonal(values[torch.randperm(64, generator=source)])
    axes = torch.linalg.qr(torch.randn(64, 64, generator=source))[0]
    gram = torch.cov(digits()[1].flatten(1).T)
    axes = torch.linalg.eigh(gram + 1e-4 * axes @ axes.T)[1].flip(1)  # large noise where the images vary least
    matrix = (axes * values) @ axes.T
    return Full((matrix + matrix.T) / 2)


def honest(index: int, scale: Scale | None = None) -> Certificate:
    classifier, inputs, _ = digits()
    scale = shape(index) if scale is None else scale
    return certify(classifier, inputs[index], scale, samples=SAMPLES, selection_samples=SELECTION, index=index)


def examine(certificate: Certificate, index: int | None = None, **options):
    classifier, inputs, reference = digits()
    index = certificate.index if index is None else index
    return audit(classifier, certificate, inputs[index], index=index, reference=reference, samples=2000, **options)


@cache
def clear() -> Certificate:
    """An honest certificate with a radius in the middle of the range, so that every lie about it is one."""
    found = [honest(index) for index in range(2, 60, 3)]
    return next(it for it in found if 0.7 < it.radius < 1.6)


def test_an_audit_attacks_along_a_threat():
    """A lie about the radius is found along the very perturbation that the classifier minds."""
    chosen = Threat("brightness", "contrast").perturbations
    found = examine(clear(), perturbations=chosen)
    assert not found.flags and list(found.along) == ["brightness", "contrast"]
    for it in chosen:
        inside, outside = found.along[it.name]["inside"], found.along[it.name]["outside"]
        assert inside.kind == it.name and not inside.broken
        assert inside.distance < clear().radius < outside.distance
        assert outside.distance == pytest.approx(1.5 * inside.distance, rel=1e-3)
    lie = replace(clear(), radius=12 * clear().radius)
    broken = examine(lie, perturbations=chosen).along
    assert any(found["inside"].broken for found in broken.values())


def test_a_perturbation_that_leaves_the_region_between_two_tested_severities_is_caught():
    """It shows the picture of another class at severities that a search, which tests the ends of bins, never sees."""
    certificate = clear()
    other = next(x for x in digits()[1] if not certificate.contains(x[None]).item()).double().numpy()

    def blinking(x: np.ndarray, severity: float) -> np.ndarray:
        place = 400 * math.sqrt(abs(severity))
        return other if 0.3 < place - math.floor(place) < 0.6 and severity > 0.1 else x + 1e-3 * severity

    planted = Perturbation("blinking", blinking, 1, images=False)
    found = certified_severity(certificate, planted)
    assert not found.proven and found.high == 1, "tested, and found nothing"
    audited = examine(certificate, perturbations=[planted])
    assert audited.flags == ("severity",)
    assert audited.along["blinking"]["inside"].distance > certificate.radius
    lying = replace(planted, variation=lambda x, low, high: np.full(x.shape, 1e-3 * (high - low)))
    assert certified_severity(certificate, lying).high > 0.1
    assert "severity" in examine(certificate, perturbations=[lying]).flags


@pytest.mark.parametrize("grid", [None, 1 / 64])
@pytest.mark.parametrize("far", [np.nan, 50.0])
def test_an_image_that_is_nowhere_or_off_the_grid_is_found_at_a_certified_severity(grid, far):
    """What the bound does not say; the last place on the way there that is on the grid and inside is no excuse."""
    function = lambda x, s: np.full_like(x, far) if 0.3 < s < 0.5 else x + 1e-3 * s  # noqa: E731
    bound = lambda x, low, high: np.full_like(x, 1e-3 * (high - low))  # noqa: E731
    lying = Perturbation("lying", function, 1, images=False, variation=bound)
    x, scale = (digits()[1][2] * 64).round() / 64, Isotropic(0.25, 64)
    terms: dict[str, Any] = {"samples": SAMPLES, "selection_samples": SELECTION, "index": 2, "grid": grid}
    certificate = certify(digits()[0], x, scale, **terms)
    found = certified_severity(certificate, lying)
    assert found.proven and found.high > 0.5
    assert audit(digits()[0], certificate, x, samples=200, perturbations=[lying]).flags == ("severity",)


def test_an_attack_along_a_perturbation_is_clamped_and_rounded_as_certified():
    certificate, (brightness,) = clear(), Threat("brightness").perturbations
    classifier, stored = digits()[0], {"clamp": (0.0, 1.0), "rounding": 1 / 16}
    found = attack_along(classifier, certificate, brightness, samples=500, **stored)
    ends = certified_severity(certificate, brightness, **stored)
    severities = torch.tensor([ends.low, ends.high], dtype=torch.float64)
    points = ((brightness.points(certificate.x, severities).clamp(0, 1) * 16).round() / 16).flatten(1)
    distances = certificate.family.length(points - certificate.x.double().flatten(), certificate.scale)
    assert found.distance < certificate.radius and found.distance <= distances.max() + 0.1
    terms = Terms(samples=SAMPLES, selection_samples=SELECTION, **stored)
    along = examine(certificate, terms=terms, perturbations=[brightness]).along["brightness"]
    assert along["inside"].distance == pytest.approx(found.distance, rel=1e-6)


def test_honest_certificates_are_not_flagged():
    """24 certificates, two tests each at 1e-4 and alpha = 1e-3 each: a false alarm in one of 35 at most, in one
    of 10^4 in practice, since a bound is rarely tight; the seed is fixed."""
    audits = [examine(honest(index)) for index in range(24)]
    assert [it.flags for it in audits] == [()] * 24
    assert sum(it.prediction != ABSTAIN for it in audits) > 16
    assert all(it.count_differences == 0 for it in audits)
    assert all(it.inside.distance < it.radius for it in audits if it.inside)


def test_a_doubled_radius_is_flagged():
    lie = replace(clear(), radius=2 * clear().radius)
    assert {"radius", "recount"} <= set(examine(lie).flags)


def test_a_doubled_radius_with_fitting_counts_is_flagged():
    """Counts invented to fit a radius of 2 rho: neither their keys nor fresh samples give them."""
    target = norm.cdf(2 * clear().radius)
    top = next(k for k in range(SAMPLES + 1) if clopper_pearson(k, SAMPLES, 1e-3) >= target)
    counts = [0] * 10
    counts[clear().prediction], counts[clear().prediction - 1] = top, SAMPLES - top
    lie = replace(clear(), counts=tuple(counts), radius=2 * clear().radius)
    assert {"counts", "recount"} <= set(examine(lie).flags)
    assert "radius" not in examine(lie).flags


def test_a_scale_twice_too_large_is_flagged():
    assert "counts" in examine(replace(clear(), scale=clear().scale.scaled(2.0))).flags


def test_the_covariance_in_the_place_of_the_scale_is_flagged():
    """C C where C belongs, both ways: the region of C C with the counts of C, and noise of C C in the region of C."""
    covariance = Full(clear().scale.covariance)
    assert "counts" in examine(replace(clear(), scale=covariance)).flags
    drawn = honest(clear().index, covariance)
    assert "counts" in examine(replace(drawn, scale=clear().scale)).flags


def test_selection_samples_counted_for_certification_are_flagged():
    classifier = digits()[0]
    it = clear()
    draws = Stream(0, it.index, Purpose.SELECTION).draws(SAMPLES, 256)
    counts = hard_counts(it.smoothed(classifier), it.x, draws)
    p_lower = clopper_pearson(int(counts[it.prediction]), SAMPLES, it.alpha)
    lie = replace(it, counts=tuple(counts.tolist()), p_lower=p_lower, radius=float(norm.ppf(p_lower)))
    assert "counts" in examine(lie).flags


def test_the_region_of_another_input_is_flagged():
    other = honest(clear().index + 3)
    assert "input" in examine(other, index=clear().index).flags
    disguised = replace(other, x=clear().x, index=clear().index)
    assert "counts" in examine(disguised).flags


def test_a_class_that_the_selection_did_not_choose_is_flagged():
    lie = replace(clear(), prediction=(clear().prediction + 1) % 10)
    assert {"radius", "recount"} <= set(examine(lie).flags)


def test_lies_are_flagged_by_fresh_samples_alone():
    """Where the keyed samples cannot be repeated (another machine), fresh ones still contradict a doubled radius."""
    lie = replace(clear(), radius=2 * clear().radius)
    assert "recount" in examine(lie, repeat=False).flags


def test_the_attack_breaks_a_radius_that_is_too_large_and_no_honest_one(oracle_of):
    """On a linear classifier the boundary lies at |C^-1 delta| = rho in one direction of sixteen, that of C w."""
    for kind in ("isotropic", "diagonal", "full", "kronecker"):
        oracle = oracle_of(kind, 16, 0.8)
        it = certify(oracle.classifier, oracle.x, oracle.scale, samples=20_000)
        assert it.radius < oracle.radius
        inside = attack(oracle.classifier, it, samples=5000)
        beyond = attack(oracle.classifier, it, samples=5000, factor=1.3)
        assert not inside.broken and beyond.broken
        assert beyond.kind == "ascent"
        # The share that a linear classifier gives at the worst point of the region: Phi(rho - distance).
        expected = norm.cdf(oracle.radius - beyond.distance)
        assert beyond.share == pytest.approx(expected, abs=0.03)


def test_the_attack_finds_the_segments_to_other_classes():
    """A classifier without gradients: only points along a segment, or by chance, can change its class."""
    classifier = lambda inputs: torch.stack([inputs[:, 0] < 1, inputs[:, 0] >= 1], dim=1).float()  # noqa: E731
    it = certify(classifier, torch.zeros(30), Isotropic(0.5, 30), samples=2000)
    reference = Reference(torch.eye(30)[:1] * 4, torch.tensor([1]))
    lie = replace(it, radius=it.radius * 1.6)
    found = attack(classifier, lie, reference=reference, samples=2000)
    assert found.kind == "segment" and found.broken
    assert not attack(classifier, it, reference=reference, samples=2000).broken


def test_abstentions_have_no_region():
    coin = lambda inputs: torch.stack([inputs[:, 0], -inputs[:, 0]], dim=1)  # noqa: E731
    it = certify(coin, torch.zeros(3), Isotropic(0.5, 3), samples=500)
    assert it.prediction == ABSTAIN
    with pytest.raises(ValueError, match="abstention"):
        attack(coin, it)
    found = audit(coin, it, it.x)
    assert found.flags == () and found.inside is None
    assert "radius" in audit(coin, replace(it, radius=0.1), it.x).flags


def test_the_recount_keeps_its_level(oracle_of):
    """A claim that is exactly true is flagged at level 0.05 in 5 % of 300 recounts: at most 30 (10^-4 by chance)."""
    oracle = oracle_of("isotropic", 2, 0.7)
    claim = certify(oracle.classifier, oracle.x, oracle.scale, samples=100)
    exact = replace(claim, prediction=1, radius=oracle.radius)
    alarms = sum(recount(oracle.classifier, exact, samples=200, seed=seed)[1] < 0.05 for seed in range(300))
    assert alarms <= 30


def test_counts_repeat_bit_for_bit_and_the_radius_is_recomputed():
    classifier, _, _ = digits()
    assert count_differences(classifier, clear()) == 0
    assert count_differences(classifier, replace(clear(), seed=1)) > 0
    assert recomputed_radius(clear()) == clear().radius
    randomized = replace(clear(), bound="randomized_clopper_pearson")
    assert recomputed_radius(randomized) >= clear().radius
    all_agree = tuple(SAMPLES if k == clear().prediction else 0 for k in range(10))
    assert math.isfinite(recomputed_radius(replace(randomized, counts=all_agree)))


IMPOSSIBLE: dict[str, tuple[object, ...]] = {
    "alpha": (0.0, 1.0, -1.0, math.nan, None),
    "samples": (0, -5),
    "selection_samples": (0,),
    "selection_counts": ((), (SELECTION, 1)),
    "counts": ((SAMPLES + 1,), (SAMPLES + 1, -1), (SAMPLES - 0.5,)),
    "batch": (0, -1),
    "norm": ("linf", None),
    "bound": ("best",),
    "grid": (0.0, math.nan, 0.3, 1e-12),
    "scale": (Isotropic(0.5, 3),),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_numbers_that_no_certificate_has_are_one_flag(name, shapes_unchecked):
    """Where nobody says what was asked for, too: what states itself is believed, but nothing impossible."""
    certificate = clear()
    for value in IMPOSSIBLE[name]:
        lie = copy(certificate)
        lie.__dict__[name] = value  # as from a file: its constructor is checked by beartype here
        assert examine(lie).flags == ("form",), value
        if name in ("alpha", "samples", "norm"):
            asked = Terms(samples=SAMPLES, selection_samples=SELECTION, seed=certificate.seed)
            assert examine(lie, terms=asked).flags == ("terms",), "it is looked at under what was asked for"


@pytest.mark.parametrize("lie", [{"radius": math.nan}, {"radius": -1.0}, {"p_lower": 0.99999}, {"p_lower": math.nan}])
def test_a_radius_and_a_bound_that_the_counts_do_not_prove_are_flagged(lie):
    assert "radius" in examine(replace(clear(), **lie)).flags
