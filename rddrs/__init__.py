"""rddrs: certified robustness by randomized smoothing with ellipsoidal noise.

Certify any classifier that maps inputs [n, *shape] to logits [n, k], one input at a time:

>>> import torch, rddrs
>>> classifier = lambda x: torch.stack([x[:, 0], -x[:, 0]], dim=1)     # answers 0 where the first entry is positive
>>> x = torch.tensor([1.0, 0.0])
>>> proposal = rddrs.ANCER(iterations=20).propose(classifier, x, sigma=0.5, seed=0, index=7)
>>> certificate = rddrs.certify(classifier, x, proposal.scale, samples=10_000, seed=0, index=7)
>>> certificate.prediction
0
>>> certificate.contains(torch.tensor([[1.1, 0.0], [-0.5, 0.0]])).tolist()
[True, False]
"""

from rddrs.scales import Diagonal, Full, Isotropic, Scale
from rddrs.methods.base import Method, Proposal
from rddrs.methods.rs import RS
from rddrs.methods.ddrs import DDRS
from rddrs.methods.ancer import ANCER
from rddrs.methods.rddrs_paper import RDDRSPaper
from rddrs.methods.rddrs import RDDRS
from rddrs.methods.global_scale import GlobalScale
from rddrs.certify import Certificate, certify
from rddrs.fidelity import Fidelity, Reference, contradictions, fidelity
from rddrs.attack import Attack, attack
from rddrs.audit import Audit, audit
from rddrs.memory import Memory
from rddrs.version import __version__

__all__ = [  # in the order of the walk
    "Scale",
    "Isotropic",
    "Diagonal",
    "Full",
    "Method",
    "Proposal",
    "RS",
    "DDRS",
    "ANCER",
    "RDDRSPaper",
    "RDDRS",
    "GlobalScale",
    "certify",
    "Certificate",
    "Reference",
    "Fidelity",
    "fidelity",
    "contradictions",
    "Attack",
    "attack",
    "Audit",
    "audit",
    "Memory",
    "__version__",
]
