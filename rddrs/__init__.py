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

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rddrs.version import __version__

if TYPE_CHECKING:
    from rddrs.noise import Scale, Isotropic, Diagonal, Full, Kronecker, save_scale, load_scale
    from rddrs.smoothing import Reference, Fidelity, fidelity
    from rddrs.models import pretrained, Pretrained
    from rddrs.threats import Threat, Perturbation
    from rddrs.methods import Method, Proposal, RS, DDRS, ANCER, RDDRSPaper, RDDRS, GlobalScale, Given
    from rddrs.certification import certify, Certificate, certify_path, PathCertificate, Smoothed, load
    from rddrs.trust import contradictions, Attack, attack, Audit, audit, audit_path, PathAudit, Memory
    from rddrs.records import certify_input, CertifiedInput
    from rddrs.report import open_run, OpenedRun

# fmt: off
__all__ = [  # in the order of the walk
    "Scale", "Isotropic", "Diagonal", "Full", "Kronecker", "save_scale", "load_scale",
    "Reference", "Fidelity", "fidelity",
    "pretrained", "Pretrained",
    "Threat", "Perturbation",
    "Method", "Proposal", "RS", "DDRS", "ANCER", "RDDRSPaper", "RDDRS", "GlobalScale", "Given",
    "certify", "Certificate", "certify_path", "PathCertificate", "Smoothed", "load",
    "contradictions", "Attack", "attack", "Audit", "audit", "audit_path", "PathAudit", "Memory",
    "certify_input", "CertifiedInput",
    "open_run", "OpenedRun",
    "__version__",
]
# fmt: on

ROOMS = (
    *("noise", "smoothing", "data", "models", "threats", "methods", "certification", "trust", "records", "report"),
    "compat",
)


def __getattr__(name: str) -> Any:
    """A room, or a public name from the first room that has it: nothing is imported before it is asked for."""
    if name in ROOMS:
        return import_module(f"rddrs.{name}")
    if name in __all__:
        for room in ROOMS:
            if hasattr(module := import_module(f"rddrs.{room}"), name):
                return getattr(module, name)
    raise AttributeError(f"module 'rddrs' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
