"""The proof: one routine that certifies every proposal, and the severities of perturbations that it covers."""

from rddrs.certification.certify import ABSTAIN, Certificate, certify, lower_bound
from rddrs.certification.paths import Cell, PathCertificate, PathTerms, certify_path
from rddrs.certification.severities import Severity, certified_severities, certified_severity, inside
from rddrs.certification.smoothed import Smoothed, load

__all__ = [
    "ABSTAIN",
    "Cell",
    "Certificate",
    "PathCertificate",
    "PathTerms",
    "Severity",
    "Smoothed",
    "certified_severities",
    "certified_severity",
    "certify",
    "certify_path",
    "inside",
    "load",
    "lower_bound",
]
