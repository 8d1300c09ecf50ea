"""What is added to an input: the scales C, keyed random numbers, and the manifold that C lives on (`noise.spd`)."""

from rddrs.noise.diagonal import Diagonal
from rddrs.noise.full import Full
from rddrs.noise.isotropic import Isotropic
from rddrs.noise.scale import Scale, owned
from rddrs.noise.streams import Purpose, draw, generator
from rddrs.noise.tensors import from_tensors, load_scale, save_scale

__all__ = [
    "Diagonal",
    "Full",
    "Isotropic",
    "Purpose",
    "Scale",
    "draw",
    "from_tensors",
    "generator",
    "load_scale",
    "owned",
    "save_scale",
]
