"""What is added to an input: the scales C, keyed random numbers, and the manifold that C lives on (`noise.spd`)."""

from rddrs.noise.diagonal import Diagonal
from rddrs.noise.ellipsoids import Ellipsoid, clearance, disjoint
from rddrs.noise.families import FAMILIES, Norm, family_of
from rddrs.noise.family import Family
from rddrs.noise.full import Full
from rddrs.noise.grid import Grid, whole
from rddrs.noise.isotropic import Isotropic
from rddrs.noise.kronecker import Kronecker, rotate
from rddrs.noise.precision import together as numbers_together
from rddrs.noise.scale import Axis, Scale, owned, require_tensor
from rddrs.noise.streams import LAST_BLOCK, Draws, Purpose, Stream
from rddrs.noise.tensors import from_tensors, load_scale, save_scale

__all__ = [
    "FAMILIES",
    "LAST_BLOCK",
    "Axis",
    "Diagonal",
    "Draws",
    "Ellipsoid",
    "Family",
    "Full",
    "Grid",
    "Isotropic",
    "Kronecker",
    "Norm",
    "Purpose",
    "Scale",
    "Stream",
    "clearance",
    "disjoint",
    "family_of",
    "from_tensors",
    "load_scale",
    "numbers_together",
    "owned",
    "require_tensor",
    "rotate",
    "save_scale",
    "whole",
]
