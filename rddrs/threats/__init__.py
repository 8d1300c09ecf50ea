"""What a person fears: named perturbations, and the threat that a scale is aimed at."""

from rddrs.threats.perturbations import PERTURBATIONS, Perturbation
from rddrs.threats.threat import Threat

__all__ = ["PERTURBATIONS", "Perturbation", "Threat"]
