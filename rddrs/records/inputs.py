"""One input from beginning to end: a proposal, its certificate, what it is worth, and the record of it all."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from rddrs.certification import ABSTAIN, Bound, Certificate, Severity, Terms, certify
from rddrs.methods import RDDRS, Method, Proposal
from rddrs.noise import Norm
from rddrs.records.outcomes import Ledger
from rddrs.records.record import derived, left_by_memory, worth
from rddrs.records.store import Store
from rddrs.smoothing import Classifier, Fidelity, Reference, fidelity, shared_fidelity
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
    workers: int = 1,
    samples: int = Terms.samples,
    selection_samples: int = Terms.selection_samples,
    alpha: float = Terms.alpha,
    bound: Bound = Terms.bound,
    target_radius: float | None = Terms.target_radius,
    norm: Norm = Terms.norm,
    grid: float | None = Terms.grid,
    perturbations: Sequence[Perturbation] | None = None,
    clamp: tuple[float, float] | None = Terms.clamp,
    rounding: float | None = Terms.rounding,
) -> CertifiedInput:
    """Propose a scale for the input `x`, certify it with fresh samples, and measure what the certificate is worth.

    * `classifier`: maps inputs [n, *shape] to logits [n, k]; it was trained under sigma times the noise of the norm
    * `x`: the input, of its own shape, without a batch axis: finite, float32 or float64
    * `sigma`: the noise level of its training, in units of the input
    * `method`: what proposes the scale: `RDDRS` with its defaults where it is None; it is of the same norm
    * `reference`: labelled training inputs, a `Reference` or a pair of inputs and labels. Half of them are for the
      method; fidelity and contradictions are measured on the other half
    * `measuring`: other labelled inputs to measure these on: all of `reference` is for the method then
    * `held_out`: where the classifier was trained on those: still others, for the fidelity
    * `label`: the right class: with it the record says whether the certificate is `correct`
    * `sigma_x`: the best isotropic noise level of x, where it is known: it is not searched for
    * `seed`, `index`: the keys of all random numbers: the number of the input is its `index`
    * `batch`: the micro-batch: noisy copies that the classifier answers at a time
    * `workers`: threads that count
    * `samples`: draws that count the class
    * `selection_samples`: draws, others, that choose the class
    * `alpha`: the probability that the certificate is false, at most
    * `bound`: of the class's probability: "clopper_pearson", or "randomized_clopper_pearson"
    * `target_radius`: only decide, early, whether the region holds the norm's ball of this radius; None: find the
      radius
    * `norm`: "l2": Gaussian noise; "l1": uniform noise on C [-1, 1]^d
    * `grid`: the step that all entries of all inputs are multiples of, to certify the network as it runs; or None
    * `perturbations`: whose certified severities are recorded: all of the project where it is None; those that are for
      other inputs are left out
    * `clamp`: the ends of the range that perturbed images are brought to; None: they are not
    * `rounding`: the step that they are rounded to then, as in a file; None: they are not

    Raises ValueError as `propose` and `certify`.
    """
    method = RDDRS(norm=norm) if method is None else method
    if not isinstance(method, Method):
        raise ValueError(f"method={method!r}: what proposes C is needed, as rddrs.RDDRS()")
    if method.norm != norm:
        raise ValueError(f"method: it proposes for norm={method.norm}, not for {norm}: give both the same")
    if label is not None and label < 0:
        raise ValueError(f"label={label}: labels count from 0, and {ABSTAIN} is an abstention")
    reference = None if reference is None else Reference.of(reference)
    if measuring is None and reference is not None:
        measuring, reference = reference.halves
    start = time.perf_counter()
    proposal = method.propose(
        classifier, x, sigma=sigma, reference=reference, seed=seed, index=index, sigma_x=sigma_x, batch=batch
    )
    proposed = time.perf_counter()
    certificate = certify(
        classifier,
        x,
        proposal.scale,
        samples=samples,
        selection_samples=selection_samples,
        alpha=alpha,
        bound=bound,
        target_radius=target_radius,
        norm=norm,
        grid=grid,
        seed=seed,
        index=index,
        batch=batch,
        workers=workers,
    )
    return described(
        classifier,
        proposal,
        certificate,
        sigma=sigma,
        method=method,
        seconds=(proposed - start, time.perf_counter() - proposed),
        measuring=measuring,
        held_out=held_out,
        label=label,
        perturbations=perturbations,
        clamp=clamp,
        rounding=rounding,
    )


def described(
    classifier: Classifier,
    proposal: Proposal,
    certificate: Certificate,
    *,
    sigma: float,
    method: Method,
    seconds: tuple[float, float],
    measuring: Reference | None,
    held_out: Reference | None,
    label: int | None,
    perturbations: Sequence[Perturbation] | None,
    clamp: tuple[float, float] | None,
    rounding: float | None,
    severities: Mapping[str, Severity] | None = None,
) -> CertifiedInput:
    """What the certificate of a proposal is worth, with the record of it all.

    `seconds` are those of the proposal and of the certificate, `severities` those that are certified, where they are
    known; the other arguments are those of `certify_input`.
    """
    record = derived(
        certificate,
        label=label,
        measuring=measuring,
        perturbations=PERTURBATIONS if perturbations is None else perturbations,
        clamp=clamp,
        rounding=rounding,
        severities=severities,
    ) | {
        "sigma_x": proposal.sigma_x,
        "status": proposal.status,
        "optimize_seconds": seconds[0],
        "certify_seconds": seconds[1],
        "iterations": proposal.iterations,
        "mode": "global" if method.one_scale else "per_input",
    }
    kept, it = None, certificate
    if (measured := held_out or measuring) is not None:
        measure = shared_fidelity if method.same_scale else partial(fidelity, index=it.index)
        kept = measure(classifier, it.scale, measured, sigma=sigma, seed=it.seed, norm=it.norm)
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


def remembered_records(
    store: Store,
    records: pd.DataFrame,
    measuring: Reference,
    perturbations: Sequence[Perturbation] = PERTURBATIONS,
    clamp: tuple[float, float] | None = None,
    rounding: float | None = None,
) -> pd.DataFrame:
    """The records of a run after its memory, whose outcomes are kept beside the regions, in the order that they had."""
    memory = Memory(Ledger(store.places.memory, store.certificate, store.packed), reference=measuring.inputs)
    rows = records.set_index("index", drop=False).to_dict("index")
    certificates = map(store.certificate, sorted(rows))
    found = remembered(memory, certificates, rows, measuring, perturbations, clamp, rounding)
    by_index = {row["index"]: row for row in found}
    return pd.DataFrame([by_index[index] for index in records["index"]])
