"""rddrs: certified robustness by randomized smoothing with ellipsoidal noise."""

from rddrs.scales import Diagonal, Full, Isotropic, Scale
from rddrs.certify import Certificate, certify
from rddrs.audit import Reference, contradictions, fidelity
from rddrs.methods.base import Method, Proposal
from rddrs.methods.rs import RS
from rddrs.methods.ddrs import DDRS
from rddrs.methods.ancer import ANCER
from rddrs.methods.rddrs_paper import RDDRSPaper

from rddrs.version import __version__
