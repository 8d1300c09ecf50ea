"""Interfaces that people know: Cohen's `Smooth`, the literature's log, scikit-learn's classifier, ART's estimator."""

from typing import TYPE_CHECKING, Any

from rddrs.compat.art import art_estimator
from rddrs.compat.logs import log_of, read_log, write_log
from rddrs.compat.smooth import Smooth

if TYPE_CHECKING:
    from rddrs.compat.sklearn import SmoothedClassifier

__all__ = [
    "Smooth",
    "SmoothedClassifier",
    "art_estimator",
    "log_of",
    "read_log",
    "write_log",
]


def __getattr__(name: str) -> Any:
    """The classifier for scikit-learn, which is imported with it."""
    if name == "SmoothedClassifier":
        from rddrs.compat.sklearn import SmoothedClassifier

        return SmoothedClassifier
    raise AttributeError(f"module 'rddrs.compat' has no attribute {name!r}")
