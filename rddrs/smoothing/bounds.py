"""Confidence bounds of a binomial's success probability.

SciPy's statistics and optimizers take half a second to import: they are imported where they are called.
"""

from functools import lru_cache

import torch
from scipy.special import betainc

from rddrs.noise import LAST_BLOCK, Purpose, Stream


@lru_cache(maxsize=65_536)
def clopper_pearson(successes: int, samples: int, alpha: float) -> float:
    """The one-sided lower confidence bound, at level 1 - alpha: it covers every probability at least that often."""
    from scipy.stats import beta

    return 0.0 if successes == 0 else float(beta.ppf(alpha, successes, samples - successes + 1))


def clopper_pearson_upper(successes: int, samples: int, alpha: float) -> float:
    """The one-sided upper confidence bound, at level 1 - alpha."""
    return 1 - clopper_pearson(samples - successes, samples, alpha)


def randomized_clopper_pearson(successes: int, samples: int, alpha: float, uniform: float) -> float:
    """The one-sided lower bound that covers every probability up to alpha^(1/n) in exactly a share 1 - alpha of cases.

    It is the p with P[X > k] + uniform P[X = k] = alpha for X ~ Bin(n, p), rounded down: never below Clopper-Pearson's.
    Where all samples are successes it is capped at alpha^(1/n), because a bound of 1 would certify everything.
    `uniform` is one draw from [0, 1), independent of the samples, that is never drawn again for the same certificate:
    `keyed_uniform`. Source: Stevens 1950; Voracek, NeurIPS 2024.
    """
    from scipy.optimize import root_scalar

    low = clopper_pearson(successes, samples, alpha)
    high = clopper_pearson(min(successes + 1, samples), samples, alpha)

    def excess(probability: float) -> float:
        above = betainc(successes + 1, samples - successes, probability) if successes < samples else 0.0
        least = betainc(successes, samples - successes + 1, probability) if successes > 0 else 1.0
        return float((1 - uniform) * above + uniform * least) - alpha

    if excess(low) >= 0:
        return low
    if excess(high) <= 0:
        return high
    root = root_scalar(excess, bracket=(low, high), method="brentq", xtol=1e-15, rtol=1e-14).root
    return max(low, float(root) * (1 - 1e-12))


def keyed_uniform(seed: int, index: int) -> float:
    """The uniform number of one certificate: from a child that its samples never reach."""
    source = Stream(seed, index, Purpose.CERTIFICATION).child(LAST_BLOCK)
    return torch.rand((), generator=source.generator(), dtype=torch.float64).item()
