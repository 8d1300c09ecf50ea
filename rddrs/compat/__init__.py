"""Interfaces that people know: Cohen's `Smooth`, the literature's log, scikit-learn's classifier, ART's estimator."""

from rddrs.compat.art import art_estimator
from rddrs.compat.logs import log_of, read_log, write_log
from rddrs.compat.sklearn import SmoothedClassifier
from rddrs.compat.smooth import Smooth

__all__ = [
    "Smooth",
    "SmoothedClassifier",
    "art_estimator",
    "log_of",
    "read_log",
    "write_log",
]
