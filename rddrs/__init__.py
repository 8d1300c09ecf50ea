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

from rddrs.noise import Scale, Isotropic, Diagonal, Full, Kronecker
from rddrs.smoothing import Reference, Fidelity, fidelity
from rddrs.threats import Threat, Perturbation
from rddrs.methods import Method, Proposal, RS, DDRS, ANCER, RDDRSPaper, RDDRS, GlobalScale
from rddrs.certification import certify, Certificate
from rddrs.trust import contradictions, Attack, attack, Audit, audit, Memory
from rddrs.records import certify_input, CertifiedInput
from rddrs.version import __version__

# fmt: off
__all__ = [  # in the order of the walk
    "Scale", "Isotropic", "Diagonal", "Full", "Kronecker",
    "Reference", "Fidelity", "fidelity",
    "Threat", "Perturbation",
    "Method", "Proposal", "RS", "DDRS", "ANCER", "RDDRSPaper", "RDDRS", "GlobalScale",
    "certify", "Certificate",
    "contradictions", "Attack", "attack", "Audit", "audit", "Memory",
    "certify_input", "CertifiedInput",
    "__version__",
]
# fmt: on
