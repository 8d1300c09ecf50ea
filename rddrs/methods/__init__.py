"""Proposals of a noise scale for an input, one module a method, and the ascent and the guard that they share."""

from rddrs.methods.ancer import ANCER
from rddrs.methods.ascent import margin_radius, margins
from rddrs.methods.base import Method, Problem, Proposal, Track, untracked
from rddrs.methods.ddrs import DDRS
from rddrs.methods.flats import flat_at
from rddrs.methods.given import Given
from rddrs.methods.global_scale import GlobalScale, is_start
from rddrs.methods.moments import moment_of, slopes, spreads_of
from rddrs.methods.rddrs import RDDRS
from rddrs.methods.rddrs_paper import RDDRSPaper
from rddrs.methods.rs import RS
from rddrs.methods.sigma_x import kept_sigma_x
from rddrs.methods.structures import Basis, Structure, structured

__all__ = [
    "ANCER",
    "DDRS",
    "RDDRS",
    "RS",
    "Basis",
    "Given",
    "GlobalScale",
    "Method",
    "Problem",
    "Proposal",
    "RDDRSPaper",
    "Structure",
    "Track",
    "flat_at",
    "is_start",
    "kept_sigma_x",
    "margin_radius",
    "margins",
    "moment_of",
    "slopes",
    "spreads_of",
    "structured",
    "untracked",
]
