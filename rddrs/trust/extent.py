"""How much of a run is audited, and how many false alarms that gives where every certificate is honest."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

SAMPLED = 1_000
"""Of larger runs so many inputs are audited, unless it is said how many."""

Count = int | Literal["auto"] | None


def audited_inputs(indices: Sequence[int], count: Count = "auto", seed: int = 0) -> list[int]:
    """At most `count` of a run's inputs, evenly spaced over them from the first; all of them where it is None.

    `auto` is all of them up to `SAMPLED`, and of more so many, drawn at random by `seed`.
    """
    if count == "auto":
        if len(indices) > SAMPLED:
            return sorted(np.random.default_rng(seed).choice(indices, SAMPLED, replace=False).tolist())
        count = None
    taken = min(count or len(indices), len(indices))
    return [indices[position * len(indices) // taken] for position in range(taken)]


def expected_false_alarms(certificates: int, paths: int, false_alarm: float, alpha: float) -> float:
    """At most so many flags are expected of honest certificates, and of as many `paths` each, audited with these rates.

    A certificate is attacked inside and along perturbations, at `false_alarm` each, a path once; each is false with a
    probability of at most `alpha` itself.
    """
    return certificates * ((2 + paths) * false_alarm + (1 + paths) * alpha)
