"""The proof: one routine that certifies every proposal, and what its certificate says of named perturbations."""

from rddrs.certification.certify import ABSTAIN, Certificate, certify, lower_bound
from rddrs.certification.perturbations import PERTURBATIONS, Perturbation
from rddrs.certification.severities import certified_severities, certified_severity

__all__ = [
    "ABSTAIN",
    "PERTURBATIONS",
    "Certificate",
    "Perturbation",
    "certified_severities",
    "certified_severity",
    "certify",
    "lower_bound",
]
