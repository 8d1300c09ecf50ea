"""Deciding early: error rates exactly and by simulation, agreement with all samples, and what the audit makes of it."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import binom, norm

from rddrs import certify
from rddrs.certification import ABSTAIN
from rddrs.noise import Purpose, Stream
from rddrs.records.store import COLUMNS, Store
from rddrs.smoothing import SmoothedClassifier, hard_counts, running_counts
from rddrs.smoothing.questions import least
from rddrs.smoothing.sequential import decide, log_evidence, sequential_lower
from rddrs.trust.audit import count_differences, recomputed_radius

ALPHA, SAMPLES = 1e-3, 20_000


@pytest.mark.parametrize(("successes", "samples", "probability"), [(9, 10, 0.6), (40, 64, 0.7), (0, 3, 0.2)])
def test_the_evidence_is_the_mean_likelihood_ratio(successes, samples, probability):
    def ratio(q):
        return np.exp(binom.logpmf(successes, samples, q) - binom.logpmf(successes, samples, probability))

    mean = quad(ratio, probability, 1, epsabs=0, epsrel=1e-10)[0] / (1 - probability)
    assert log_evidence(successes, samples, probability) == pytest.approx(np.log(mean), rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("probability", [0.3, 0.69, 0.95])
@pytest.mark.parametrize(("successes", "samples"), [(0, 0), (3, 5), (5, 5), (0, 40), (39, 40)])
def test_one_more_sample_gains_nothing_on_average_where_the_claim_is_true(probability, successes, samples):
    """Exact: a martingale at the boundary, a supermartingale below; it starts at 1."""
    now = np.exp(log_evidence(successes, samples, probability))
    success, failure = (np.exp(log_evidence(successes + one, samples + 1, probability)) for one in (1, 0))
    assert probability * success + (1 - probability) * failure == pytest.approx(now, rel=1e-9)
    less = probability / 2
    assert less * success + (1 - less) * failure <= now
    assert log_evidence(0, 0, probability) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("rho", [0.5, 2.0])
def test_false_decisions_at_the_boundary(rho):
    """20,000 inputs with p just on the boundary, 100 looks: `yes` and `no` are each false for a share alpha at most.

    False alarm: one in 10^6 for each of the two, the seed is fixed.
    """
    probability, repeats, alpha = float(norm.cdf(rho)), 20_000, 0.05
    source = np.random.default_rng(1)
    successes = np.zeros(repeats, int)
    broken = {"yes": np.zeros(repeats, bool), "no": np.zeros(repeats, bool)}
    for look in range(1, 101):
        successes += source.binomial(20, probability, repeats)
        found, place = np.unique(successes, return_inverse=True)
        answers = np.array([decide(int(count), 20 * look, probability, alpha) for count in found])[place]
        for side, ever in broken.items():
            ever |= answers == side
    for ever in broken.values():
        assert 0 < ever.sum() <= binom.isf(1e-6, repeats, alpha)


@pytest.mark.parametrize(("successes", "samples"), [(0, 50), (30, 50), (50, 50), (9_900, 10_000)])
def test_the_lower_bound_is_where_the_evidence_ends(successes, samples):
    lower = sequential_lower(successes, samples, ALPHA)
    assert 0 <= lower < successes / samples or successes == lower == 0
    if successes:
        assert decide(successes, samples, lower * (1 - 1e-9), ALPHA) == "yes"
        assert decide(successes, samples, lower * (1 + 1e-9), ALPHA) != "yes"


@pytest.mark.parametrize(("successes", "samples", "alpha"), [(1, 1, 1e-50), (1, 100, 1e-12), (1, 1 << 24, 1e-3)])
def test_a_bound_that_is_next_to_nothing_is_none(successes, samples, alpha):
    assert sequential_lower(successes, samples, alpha) == 0.0


def test_extreme_targets_are_undecided_or_no():
    assert decide(100_000, 100_000, 1.0, ALPHA) == "undecided"
    assert decide(90_000, 100_000, 1.0, ALPHA) == "no"


@pytest.mark.parametrize("kind", ["isotropic", "diagonal", "full"])
@pytest.mark.parametrize(("share", "decision"), [(0.5, "yes"), (2.0, "no"), (1.0, "undecided")])
def test_decisions_of_a_linear_classifier(oracle_of, kind, share, decision):
    """The true ball radius is known: half of it is decided `yes` in under SAMPLES / 20 draws, twice of it `no`.

    A false `no` or `yes` at the true radius itself: 2e-3 a case, the seed is fixed.
    """
    oracle = oracle_of(kind, 12, radius=1.5)
    target = share * oracle.radius * oracle.scale.eigenvalues[0].item()
    options = {"samples": SAMPLES, "alpha": ALPHA, "batch": 128, "index": 3}
    found = certify(oracle.classifier, oracle.x, oracle.scale, target_radius=target, **options)
    assert (found.decision, found.bound) == (decision, "sequential")
    assert sum(found.counts) == found.samples
    whole = certify(oracle.classifier, oracle.x, oracle.scale, **options)
    if decision == "yes":
        assert found.samples <= SAMPLES / 20 and found.prediction == whole.prediction == 1
        assert target <= found.ball_radius <= target * (1 + 1e-9) and found.ball_radius <= whole.ball_radius
        assert found.p_lower == pytest.approx(norm.cdf(found.radius))
    else:
        assert (found.prediction, found.radius, found.p_lower) == (ABSTAIN, 0, 0)
        assert whole.ball_radius < target
        assert found.samples < SAMPLES if decision == "no" else found.samples == SAMPLES


def test_what_is_counted_up_to_a_look_does_not_depend_on_later_looks_or_on_workers(oracle_of):
    oracle = oracle_of("full", 4, radius=0.5)
    smoothed, stream = SmoothedClassifier(oracle.classifier, oracle.scale), Stream(0, 0, Purpose.CERTIFICATION)
    looks = list(running_counts(smoothed, oracle.x, stream, 1_000, batch=64))
    drawn = [count for _, count in looks]
    assert drawn[:5] == [32, 64, 96, 128, 160] and drawn[-1] == 1_000
    assert all(counts.sum() == count for counts, count in looks)
    for counts, count in looks:
        *_, (again, _) = running_counts(smoothed, oracle.x, stream, count, batch=64, workers=2)
        assert torch.equal(again, counts)
    first = hard_counts(smoothed, oracle.x, stream.draws(32, 64))
    assert torch.equal(first, looks[0][0])


def test_the_audit_repeats_a_decided_certificate_and_finds_a_larger_radius(oracle_of, tmp_path):
    oracle = oracle_of("diagonal", 6, radius=2.0)
    honest = certify(oracle.classifier, oracle.x, oracle.scale, target_radius=0.1, index=5)
    assert honest.samples < 1_000
    record = dict.fromkeys(COLUMNS, 0) | {"index": 5}
    Store(tmp_path).save(honest, record)
    kept = Store(tmp_path).certificate(5)
    assert (kept.decision, kept.samples, kept.radius) == ("yes", honest.samples, honest.radius)
    assert count_differences(oracle.classifier, kept) == 0
    assert honest.radius <= recomputed_radius(kept) < 2 * oracle.radius
    assert count_differences(oracle.classifier, replace(kept, samples=kept.samples + 1)) == 1


@pytest.mark.parametrize("probability", [0.5, 0.8413, 0.999, 1 - 1e-6, 1 - 1e-9])
@pytest.mark.parametrize("alpha", [1e-3, 1e-9])
def test_the_fewest_draws_are_found_in_few_steps(probability, alpha, monkeypatch):
    """One less does not answer `yes`; of a probability near 1 there are millions, which are not tried one by one."""
    tried = []

    def counted(*draws):
        tried.append(draws)
        assert len(tried) < 100
        return log_evidence(*draws)

    monkeypatch.setattr("rddrs.smoothing.questions.log_evidence", counted)
    found = least.__wrapped__(probability, alpha)
    assert log_evidence(found, found, probability) >= -math.log(alpha)
    assert log_evidence(found - 1, found - 1, probability) < -math.log(alpha)
