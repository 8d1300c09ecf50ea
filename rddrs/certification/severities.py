"""Certified severities: up to which severity of a named perturbation a certificate covers it (METHOD section 4.5)."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float

from rddrs.certification.certify import Certificate
from rddrs.threats import PERTURBATIONS, Perturbation

STEPS, FINER = 400, 25


def certified_severity(certificate: Certificate, perturbation: Perturbation, steps: int = STEPS) -> float:
    """The largest severity s up to which T_t(x) stays in the certified region for all t <= s, rounded down.

    The severities tested are limit (i / steps)^2, i = 1 .. steps, and between the last that is inside and the first
    that is not, 25 and 25 finer ones; nothing is proven between two of them. 0 for an abstention, the limit where
    nothing up to it leaves the region. Negative severities are not looked at. Raises ValueError where the perturbation
    is none for inputs of this shape or changes their shape.
    """
    shape = tuple(certificate.x.shape)
    perturbation.require(shape)
    if certificate.radius == 0:
        return 0.0
    x = certificate.x.cpu().double().numpy()

    def inside(severities: Float[np.ndarray, " n"]) -> int:
        """How many of them, from the first on, do not leave the region."""
        points = np.stack([perturbation.function(x, float(severity)) for severity in severities])
        if points.shape[1:] != shape:
            raise ValueError(f"{perturbation.name} must keep the input's shape {shape}, not make it {points.shape[1:]}")
        found = certificate.contains(torch.from_numpy(points).to(certificate.x.device)).cpu().numpy()
        return len(found) if found.all() else int(np.argmin(found))

    reached = 0.0
    for tested in np.array_split(perturbation.limit * (np.arange(1, steps + 1) / steps) ** 2, max(1, steps // FINER)):
        count = inside(tested)
        reached = float(tested[count - 1]) if count else reached
        if count < len(tested):
            break
    else:
        return reached
    for _ in range(2):
        tested = np.linspace(reached, tested[count], FINER + 1)[1:]
        count = min(inside(tested), FINER - 1)  # the last was outside
        reached = float(tested[count - 1]) if count else reached
    return reached


def certified_severities(
    certificate: Certificate, perturbations: Sequence[Perturbation] = PERTURBATIONS, steps: int = STEPS
) -> dict[str, float]:
    """The certified severity of every perturbation that makes sense for the input, by name."""
    shape = tuple(certificate.x.shape)
    return {each.name: certified_severity(certificate, each, steps) for each in perturbations if each.applies(shape)}
