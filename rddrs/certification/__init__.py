"""The proof: one routine that certifies every proposal, and the severities of perturbations that it covers."""

from rddrs.certification.certify import ABSTAIN, Certificate, certify, lower_bound
from rddrs.certification.severities import Severity, certified_severities, certified_severity, inside
from rddrs.certification.smoothed import Smoothed, load

__all__ = [
    "ABSTAIN",
    "Certificate",
    "Severity",
    "Smoothed",
    "certified_severities",
    "certified_severity",
    "certify",
    "inside",
    "load",
    "lower_bound",
]
