"""How much of a run is audited, and how many false alarms that gives where every certificate is honest."""

from collections.abc import Sequence


def audited_inputs(indices: Sequence[int], count: int | None) -> list[int]:
    """At most `count` of a run's inputs, evenly spaced over them from the first; all of them where it is None."""
    taken = min(count or len(indices), len(indices))
    return [indices[position * len(indices) // taken] for position in range(taken)]


def expected_false_alarms(certificates: int, paths: int, false_alarm: float, alpha: float) -> float:
    """At most so many flags are expected of honest certificates, and of as many `paths` each, audited with these rates.

    A certificate is attacked inside and along perturbations, at `false_alarm` each, a path once; each is false with a
    probability of at most `alpha` itself.
    """
    return certificates * ((2 + paths) * false_alarm + (1 + paths) * alpha)
