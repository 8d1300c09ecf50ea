"""Interfaces that people know: Cohen's `Smooth` and the log of the literature, and a classifier of scikit-learn."""

from rddrs.compat.logs import log_of, read_log, write_log
from rddrs.compat.sklearn import SmoothedClassifier
from rddrs.compat.smooth import Smooth

__all__ = [
    "Smooth",
    "SmoothedClassifier",
    "log_of",
    "read_log",
    "write_log",
]
