"""One input from beginning to end: a proposal, its certificate, what it is worth, and the record of it all."""

import time
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from rddrs.certification import Certificate, certified_severities, certify
from rddrs.methods import RDDRS, Method, Proposal
from rddrs.records.store import measures
from rddrs.smoothing import Classifier, Fidelity, Reference, fidelity
from rddrs.trust import contradictions


@dataclass(frozen=True, eq=False)
class CertifiedInput:
    """What `certify_input` found; `record` is the row of it in a table of records.

    Without reference inputs there is no fidelity; without a label the record does not say whether it is `correct`.
    """

    proposal: Proposal
    certificate: Certificate
    fidelity: Fidelity | None
    record: dict[str, Any]


def certify_input(
    classifier: Classifier,
    x: Float[Tensor, "*shape"],
    *,
    sigma: float,
    method: Method | None = None,
    reference: Reference | tuple[Tensor, Tensor] | None = None,
    measuring: Reference | None = None,
    label: int | None = None,
    sigma_x: float | None = None,
    seed: int = 0,
    index: int = 0,
    batch: int = 256,
    **certification: Any,
) -> CertifiedInput:
    """Propose a scale for the input `x`, certify it with fresh samples, and measure what the certificate is worth.

    `classifier` maps inputs [n, *shape] to logits [n, k] and was trained under N(0, sigma^2 I); `method` is RDDRS with
    its defaults unless given. `reference` are labelled training inputs; half of them are for the method, and fidelity
    and contradictions are measured on the other half, or on `measuring`, with all of `reference` for the method.
    `certification` goes to `certify`: samples, alpha, target_radius ... Raises ValueError as `propose` and `certify`.
    """
    method = RDDRS() if method is None else method
    if isinstance(reference, tuple):
        reference = Reference(*reference)
    if measuring is None and reference is not None:
        measuring, reference = reference.halves
    keyed: dict[str, Any] = {"seed": seed, "index": index}
    start = time.perf_counter()
    proposal = method.propose(classifier, x, sigma=sigma, reference=reference, sigma_x=sigma_x, batch=batch, **keyed)
    proposed = time.perf_counter()
    certificate = certify(classifier, x, proposal.scale, batch=batch, **keyed, **certification)
    certified = time.perf_counter()
    record = {
        "index": index,
        **({} if label is None else {"label": label, "correct": certificate.prediction == label}),
        **measures(certificate),
        "sigma_x": proposal.sigma_x,
        "status": proposal.status,
        "optimize_seconds": proposed - start,
        "certify_seconds": certified - proposed,
        "iterations": proposal.iterations,
        "mode": "global" if method.one_scale else "per_input",
        "batch": batch,
        "seed": seed,
        **{f"severity_{name}": value for name, value in certified_severities(certificate).items()},
    }
    kept = None
    if measuring is not None:
        kept = fidelity(classifier, proposal.scale, measuring, sigma=sigma, **keyed)
        record |= {
            "fidelity": kept.value,
            "contradictions": contradictions(certificate, measuring),
            "preferred_class": max(range(len(kept.distribution)), key=kept.distribution.__getitem__),
            "preferred_share": max(kept.distribution),
        }
    return CertifiedInput(proposal, certificate, kept, record)
