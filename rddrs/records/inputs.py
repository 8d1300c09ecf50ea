"""One input from beginning to end: a proposal, its certificate, what it is worth, and the record of it all."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from rddrs.certification import Certificate, certify
from rddrs.methods import RDDRS, Method, Proposal
from rddrs.noise import Norm
from rddrs.records.record import derived, left_by_memory, worth
from rddrs.smoothing import Classifier, Fidelity, Reference, fidelity
from rddrs.threats import PERTURBATIONS, Perturbation
from rddrs.trust import Memory, admit_in_order


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
    reference: Reference | tuple[Any, Any] | None = None,
    measuring: Reference | None = None,
    held_out: Reference | None = None,
    label: int | None = None,
    sigma_x: float | None = None,
    seed: int = 0,
    index: int = 0,
    batch: int = 256,
    perturbations: Sequence[Perturbation] = PERTURBATIONS,
    clamp: tuple[float, float] | None = None,
    rounding: float | None = None,
    norm: Norm = "l2",
    **certification: Any,
) -> CertifiedInput:
    """Propose a scale for the input `x`, certify it with fresh samples, and measure what the certificate is worth.

    `classifier` maps inputs [n, *shape] to logits [n, k] and was trained under sigma times the noise of the `norm`;
    `method` is RDDRS with its defaults unless given. `reference` are labelled training inputs; half of them are for the
    method, and fidelity and contradictions are measured on the other half, or on `measuring`, with all of `reference`
    for the method. Where the classifier was trained on those, `held_out` are others, for the fidelity. The record has
    the certified severities of `perturbations`, those that make sense for the input; of images that are brought to the
    range `clamp` and to multiples of the step `rounding`, as a file is, where these are given. `certification` goes to
    `certify`: samples, alpha, grid ... Raises ValueError as `propose` and `certify`.
    """
    method = RDDRS(norm=norm) if method is None else method
    if method.norm != norm:
        raise ValueError(f"method: it proposes for norm={method.norm}, not for {norm}: give both the same")
    reference = reference and Reference.of(reference)
    if measuring is None and reference is not None:
        measuring, reference = reference.halves
    keyed: dict[str, Any] = {"seed": seed, "index": index}
    start = time.perf_counter()
    proposal = method.propose(classifier, x, sigma=sigma, reference=reference, sigma_x=sigma_x, batch=batch, **keyed)
    proposed = time.perf_counter()
    certificate = certify(classifier, x, proposal.scale, batch=batch, norm=norm, **keyed, **certification)
    certified = time.perf_counter()
    changed: dict[str, Any] = {"perturbations": perturbations, "clamp": clamp, "rounding": rounding}
    record = derived(certificate, label=label, measuring=measuring, **changed) | {
        "sigma_x": proposal.sigma_x,
        "status": proposal.status,
        "optimize_seconds": proposed - start,
        "certify_seconds": certified - proposed,
        "iterations": proposal.iterations,
        "mode": "global" if method.one_scale else "per_input",
    }
    kept = None
    if (measured := held_out or measuring) is not None:
        kept = fidelity(classifier, certificate.scale, measured, sigma=sigma, norm=norm, **keyed)
        record |= worth(kept)
    return CertifiedInput(proposal, certificate, kept, record)


def remembered(
    memory: Memory,
    certificates: Iterable[Certificate],
    records: Mapping[int, dict[str, Any]],
    measuring: Reference,
    perturbations: Sequence[Perturbation] = PERTURBATIONS,
    clamp: tuple[float, float] | None = None,
    rounding: float | None = None,
) -> Iterator[dict[str, Any]]:
    """The records, by index, after the memory: what it leaves of every certificate, in order of indices, and why.

    Raises ValueError where the indices do not increase, or another certificate is remembered under an index.
    """
    for outcome in admit_in_order(memory, certificates):
        left, record = outcome.certificate, records[outcome.certificate.index]
        changed = {}
        if outcome.reason:
            changed = derived(
                left,
                label=record["label"],
                measuring=measuring,
                perturbations=perturbations,
                clamp=clamp,
                rounding=rounding,
            )
        yield record | changed | left_by_memory(outcome)
