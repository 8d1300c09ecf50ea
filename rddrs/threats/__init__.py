"""What a person fears: named perturbations, how they vary, and the threat that a scale is aimed at."""

from rddrs.threats.change import Change, check_range, stored
from rddrs.threats.perturbations import ENDS, PERTURBATIONS, SHIFT_DOWN, Perturbation
from rddrs.threats.threat import VOLUME, Threat, Way

__all__ = [
    "ENDS",
    "PERTURBATIONS",
    "SHIFT_DOWN",
    "VOLUME",
    "Change",
    "Perturbation",
    "Threat",
    "Way",
    "check_range",
    "stored",
]
