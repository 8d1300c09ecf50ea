"""What is added to an input: the scales C, keyed random numbers, and the manifold that C lives on (`noise.spd`)."""

from rddrs.noise.diagonal import Diagonal
from rddrs.noise.families import FAMILIES, Family, Norm
from rddrs.noise.full import Full
from rddrs.noise.grid import Grid, whole
from rddrs.noise.isotropic import Isotropic
from rddrs.noise.kronecker import Kronecker, rotate
from rddrs.noise.scale import Axis, Scale, owned
from rddrs.noise.streams import LAST_BLOCK, Purpose, generator
from rddrs.noise.tensors import from_tensors, load_scale, save_scale

__all__ = [
    "FAMILIES",
    "LAST_BLOCK",
    "Axis",
    "Diagonal",
    "Family",
    "Full",
    "Grid",
    "Isotropic",
    "Kronecker",
    "Norm",
    "Purpose",
    "Scale",
    "from_tensors",
    "generator",
    "load_scale",
    "owned",
    "rotate",
    "save_scale",
    "whole",
]
