"""The proof: one routine that certifies every proposal, and the severities of perturbations that it covers."""

from rddrs.certification.certify import ABSTAIN, Certificate, certify, lower_bound
from rddrs.certification.severities import certified_severities, certified_severity
from rddrs.certification.smoothed import Smoothed, load

__all__ = [
    "ABSTAIN",
    "Certificate",
    "Smoothed",
    "certified_severities",
    "certified_severity",
    "certify",
    "load",
    "lower_bound",
]
