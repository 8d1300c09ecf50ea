"""The proof: one routine that certifies every proposal, and the severities of perturbations that it covers."""

from rddrs.certification.certify import Certificate, certify, certify_together
from rddrs.certification.path_certificate import Cell, PathCertificate
from rddrs.certification.paths import PathTerms, certify_path
from rddrs.certification.severities import Severity, certified_severities, certified_severity, inside
from rddrs.certification.smoothed import Smoothed, load
from rddrs.certification.terms import ABSTAIN, Bound, Demand, Proof, Terms, lower_bound

__all__ = [
    "ABSTAIN",
    "Bound",
    "Cell",
    "Certificate",
    "Demand",
    "PathCertificate",
    "PathTerms",
    "Proof",
    "Severity",
    "Smoothed",
    "Terms",
    "certified_severities",
    "certified_severity",
    "certify",
    "certify_path",
    "certify_together",
    "inside",
    "load",
    "lower_bound",
]
