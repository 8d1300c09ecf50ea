"""What a person fears: named perturbations."""

from rddrs.threats.perturbations import PERTURBATIONS, Perturbation

__all__ = ["PERTURBATIONS", "Perturbation"]
