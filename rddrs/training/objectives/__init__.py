"""What training under noise minimises, one module an objective (METHOD section 9)."""

from rddrs.training.objectives.base import Noise, Objective, copies
from rddrs.training.objectives.cat_rs import CatRS
from rddrs.training.objectives.consistency import Consistency
from rddrs.training.objectives.gaussian import Gaussian
from rddrs.training.objectives.macer import Macer
from rddrs.training.objectives.smoothadv import SmoothAdv

OBJECTIVES: dict[str, type[Objective]] = {
    "gaussian": Gaussian,
    "consistency": Consistency,
    "smoothadv": SmoothAdv,
    "macer": Macer,
    "cat_rs": CatRS,
}

__all__ = ["OBJECTIVES", "CatRS", "Consistency", "Gaussian", "Macer", "Noise", "Objective", "SmoothAdv", "copies"]
