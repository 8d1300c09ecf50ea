"""Confidence bounds: their coverage is that which they state, computed exactly."""

import numpy as np
import pytest
from scipy.stats import binom, kstest

from rddrs.smoothing.bounds import clopper_pearson, clopper_pearson_upper, keyed_uniform, randomized_clopper_pearson

ALPHA, SAMPLES = 0.05, 40


@pytest.mark.parametrize("probability", [0.03, 0.5, 0.77, 0.9, 0.99])
def test_clopper_pearson_covers_at_least_its_level(probability):
    """Exact: the sum of the probabilities of the counts whose bound is above the truth."""
    counts = np.arange(SAMPLES + 1)
    weights = binom.pmf(counts, SAMPLES, probability)
    lower = np.array([clopper_pearson(int(k), SAMPLES, ALPHA) for k in counts])
    upper = np.array([clopper_pearson_upper(int(k), SAMPLES, ALPHA) for k in counts])
    assert weights[lower > probability].sum() <= ALPHA
    assert weights[upper < probability].sum() <= ALPHA


@pytest.mark.parametrize("probability", [0.03, 0.5, 0.77, 0.9, ALPHA ** (1 / SAMPLES) - 1e-6])
def test_the_randomized_bound_covers_exactly_its_level(probability):
    """Exact in the count; the uniform number runs over 20 strata, which leaves an error of 1/20 of one count."""
    strata = (np.arange(20) + 0.5) / 20
    counts = np.arange(SAMPLES + 1)
    weights = binom.pmf(counts, SAMPLES, probability)
    miss = sum(
        weights[k] * np.mean([randomized_clopper_pearson(int(k), SAMPLES, ALPHA, u) > probability for u in strata])
        for k in counts
        if weights[k] > 1e-7
    )
    assert miss == pytest.approx(ALPHA, abs=weights.max() / 20 + 1e-5)


def test_the_randomized_bound_misses_less_where_it_is_capped():
    probability = ALPHA ** (1 / SAMPLES) + 1e-6
    assert all(randomized_clopper_pearson(SAMPLES, SAMPLES, ALPHA, u) < probability for u in (0.0, 1e-3, 0.5, 1.0))


@pytest.mark.parametrize("samples", [1, 20, 100_000])
def test_the_randomized_bound_lies_between_neighbouring_bounds_and_falls_with_the_uniform(samples):
    for share in (0.0, 0.5, 0.9, 0.9999, 1.0):
        successes = round(share * samples)
        low = clopper_pearson(successes, samples, 1e-3)
        high = clopper_pearson(min(successes + 1, samples), samples, 1e-3)
        bounds = [randomized_clopper_pearson(successes, samples, 1e-3, u) for u in (0.0, 0.2, 0.7, 1.0)]
        assert bounds == sorted(bounds, reverse=True)
        assert all(low <= bound <= high for bound in bounds)
        assert bounds[-1] == pytest.approx(low, abs=1e-12)


def test_the_bound_solves_its_own_equation():
    bound = randomized_clopper_pearson(35, SAMPLES, ALPHA, 0.3)
    assert binom.sf(35, SAMPLES, bound) + 0.3 * binom.pmf(35, SAMPLES, bound) == pytest.approx(ALPHA, rel=1e-9)


def test_keyed_uniforms_are_uniform_and_repeat():
    """Kolmogorov-Smirnov over 2,000 keys; false alarm one in 10^4, the keys are fixed."""
    values = [keyed_uniform(0, index) for index in range(2000)]
    assert kstest(values, "uniform").pvalue > 1e-4
    assert keyed_uniform(3, 4) == keyed_uniform(3, 4) != keyed_uniform(4, 3)
