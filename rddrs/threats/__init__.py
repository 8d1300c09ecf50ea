"""What a person fears: named perturbations, and the threat that a scale is aimed at."""

from rddrs.threats.perturbations import PERTURBATIONS, Perturbation
from rddrs.threats.threat import VOLUME, Threat

__all__ = ["PERTURBATIONS", "VOLUME", "Perturbation", "Threat"]
