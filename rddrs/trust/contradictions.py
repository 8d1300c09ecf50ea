"""Contradictions: labelled inputs of another class inside a certified region (METHOD section 4.1)."""

from typing import Any

from rddrs.certification import Certificate
from rddrs.smoothing import Reference


def contradictions(certificate: Certificate, reference: Reference | tuple[Any, Any]) -> int:
    """How many reference inputs of another class lie inside the certified region."""
    if certificate.radius == 0:
        return 0
    reference = Reference.of(reference).to(certificate.x.device)
    inside = certificate.contains(reference.inputs)
    return int((inside & (reference.labels != certificate.prediction)).sum())
