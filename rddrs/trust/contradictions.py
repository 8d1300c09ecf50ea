"""Contradictions: labelled inputs of another class inside a certified region (METHOD section 4.1)."""

from rddrs.certification import Certificate
from rddrs.smoothing import Reference


def contradictions(certificate: Certificate, reference: Reference) -> int:
    """How many reference inputs of another class lie inside the certified region."""
    if certificate.radius == 0:
        return 0
    reference = reference.to(certificate.x.device)
    inside = certificate.contains(reference.inputs)
    return int((inside & (reference.labels != certificate.prediction)).sum())
