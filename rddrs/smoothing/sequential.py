"""Deciding early: is a success probability above a threshold? Anytime-valid, so that it may stop at any time.

The evidence against "at most p" is the wealth of a gambler who bets against it: the mean, over all alternatives q > p
spread evenly, of the likelihood ratio q^s (1-q)^f / (p^s (1-p)^f) after s successes and f failures. If p or less is
true, each factor of each ratio has expectation 1 or less, so that the wealth is a non-negative supermartingale that
starts at 1, and reaches 1/alpha, ever, with probability alpha at most (Ville's inequality). Neither the number of
looks nor the rule for stopping matters. Source: Ville 1939; Robbins 1970 (mixtures); Waudby-Smith & Ramdas,
JRSS B 2024, and Voracek, NeurIPS 2024 (betting).
"""

import math
import sys
from typing import Literal

from scipy.special import betaincc, betaln, xlogy

Decision = Literal["yes", "no", "undecided"]


def log_evidence(successes: int, samples: int, probability: float) -> float:
    """The logarithm of the wealth against "the success probability is at most `probability`", in closed form."""
    # Below, the claim is refuted in a wider form; above, no number of samples that can be drawn refutes either form.
    probability = min(max(probability, sys.float_info.epsilon), 1 - sys.float_info.epsilon)
    failures = samples - successes
    alternatives = betaincc(1 + successes, 1 + failures, probability)  # the share of the mixture's mass above it
    if alternatives == 0:
        return -math.inf
    mixture = betaln(1 + successes, 1 + failures) + math.log(alternatives)
    return float(mixture - successes * math.log(probability) - (failures + 1) * math.log1p(-probability))


def decide(successes: int, samples: int, probability: float, alpha: float) -> Decision:
    """Is the success probability above (`yes`) or below (`no`) `probability`? Each false with at most `alpha`."""
    if _best_evidence(successes, samples, probability) < -math.log(alpha) - 1e-6:
        return "undecided"  # no alternative has the evidence, so that their mean has not: for most looks all it takes
    if log_evidence(successes, samples, probability) >= -math.log(alpha):
        return "yes"
    if log_evidence(samples - successes, samples, 1 - probability) >= -math.log(alpha):
        return "no"
    return "undecided"


def _best_evidence(successes: int, samples: int, probability: float) -> float:
    """The logarithm of the likelihood ratio of the alternative that has most: q = successes / samples."""
    expected = ((successes, probability), (samples - successes, 1 - probability))
    return sum(float(xlogy(found, found) - xlogy(found, samples * share)) for found, share in expected)


def sequential_lower(successes: int, samples: int, alpha: float) -> float:
    """The largest lower bound that the evidence allows: the p below which every "at most p" is refuted at `alpha`.

    0 where that is less than the rounding of 1. Valid at level 1 - alpha at all times together, whatever the rule that
    stopped the sampling.
    """
    from scipy.optimize import root_scalar

    def excess(probability: float) -> float:
        return log_evidence(successes, samples, probability) + math.log(alpha)

    # The evidence falls as p grows up to s / (n + 1), the end of the range of bounds.
    low, high = sys.float_info.epsilon, successes / (samples + 1)
    if successes == 0 or excess(high) >= 0:
        return high
    if excess(low) <= 0:
        return 0.0
    return float(root_scalar(excess, bracket=(low, high), method="brentq", xtol=1e-15, rtol=1e-14).root)
