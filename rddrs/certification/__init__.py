"""The proof: one routine that certifies every proposal, and the severities of perturbations that it covers."""

from rddrs.certification.certify import ABSTAIN, Certificate, certify, lower_bound
from rddrs.certification.severities import Severity, certified_severities, certified_severity, inside

__all__ = [
    "ABSTAIN",
    "Certificate",
    "Severity",
    "certified_severities",
    "certified_severity",
    "certify",
    "inside",
    "lower_bound",
]
