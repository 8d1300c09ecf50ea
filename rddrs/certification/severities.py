"""Certified severities: up to which severity of a named perturbation a certificate covers it (METHOD section 4.5)."""

from collections.abc import Sequence

import numpy as np
import torch

from rddrs.certification.certify import Certificate
from rddrs.threats import PERTURBATIONS, Perturbation

STEPS = 400


def certified_severity(certificate: Certificate, perturbation: Perturbation, steps: int = STEPS) -> float:
    """The largest severity s up to which T_t(x) stays in the certified region for all t <= s, rounded down.

    The severities tested are limit (i / steps)^2, i = 1 .. steps: the finer, the smaller; nothing is proven between
    two of them. 0 for an abstention, the limit where nothing up to it leaves the region. Raises ValueError where the
    perturbation is none for inputs of this shape or changes their shape.
    """
    shape = tuple(certificate.x.shape)
    perturbation.require(shape)
    if certificate.radius == 0:
        return 0.0
    x = certificate.x.cpu().double().numpy()
    severities = perturbation.limit * (np.arange(1, steps + 1) / steps) ** 2
    reached = 0.0
    for part in np.array_split(severities, max(1, steps // 25)):
        points = np.stack([perturbation.function(x, float(severity)) for severity in part])
        if points.shape[1:] != shape:
            raise ValueError(f"{perturbation.name} must keep the input's shape {shape}, not make it {points.shape[1:]}")
        inside = certificate.contains(torch.from_numpy(points).to(certificate.x.device)).cpu().numpy()
        if not inside.all():
            first = int(np.argmin(inside))
            return float(part[first - 1]) if first else reached
        reached = float(part[-1])
    return reached


def certified_severities(
    certificate: Certificate, perturbations: Sequence[Perturbation] = PERTURBATIONS, steps: int = STEPS
) -> dict[str, float]:
    """The certified severity of every perturbation that makes sense for the input, by name."""
    shape = tuple(certificate.x.shape)
    return {each.name: certified_severity(certificate, each, steps) for each in perturbations if each.applies(shape)}
