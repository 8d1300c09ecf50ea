"""Attempts to prove a certificate wrong: by its own counts, by fresh counts, and by an attack on its region.

No attempt trusts what it audits: counts are drawn again, and the radius is computed again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rddrs.certification import Certificate, Proof, Terms
from rddrs.certification.certify import are_counts
from rddrs.noise import Grid, Purpose, Stream, require_tensor
from rddrs.smoothing import (
    Asked,
    Classifier,
    Reference,
    check_contract,
    check_evaluates,
    running_counts,
    shared_counts,
)
from rddrs.threats import Perturbation
from rddrs.trust.attack import INSIDE, OUTSIDE, Attack, attack, attack_along, count_class
from rddrs.trust.contradictions import contradictions


@dataclass(frozen=True)
class Audit:
    """What the audit of one certificate found; `flags` name the ways in which it is broken, empty for an honest one.

    `form`: numbers that no certificate has; nothing else is looked at then. `input`: another input's region. `terms`:
    it states others than were asked for. `counts`: the stored counts are not those of the keyed samples. `radius`: it,
    or the bound `p_lower`, is none, or larger than the counts allow. `recount`: fresh samples contradict the
    radius. `attack`: a point of the region has another class. `severity`: an image is outside of the region at a
    severity that is certified. None stands for a check that was not made. `outside` and
    `contradictions` describe an honest certificate. `along` has, for every perturbation of a threat, a point at a
    certified severity, `inside`, and one at a larger one, `outside`.
    """

    index: int
    prediction: int
    radius: float
    largest_radius: float
    count_differences: int | None
    recount_share: float
    recount_p_value: float
    inside: Attack | None
    outside: Attack | None
    contradictions: int | None
    along: dict[str, dict[str, Attack]]
    flags: tuple[str, ...]


def audit(
    classifier: Classifier,
    certificate: Certificate,
    x: Float[Tensor, "*shape"],
    *,
    index: int | None = None,
    terms: Terms | None = None,
    reference: Reference | tuple[Any, Any] | None = None,
    perturbations: Sequence[Perturbation] = (),
    samples: int = 10_000,
    false_alarm: float = 1e-4,
    batch: int = 256,
    repeat: bool = True,
    tolerance: int = 0,
    outside: float = 1.5,
    seed: int = 0,
    workers: int = 1,
) -> Audit:
    """Tries to break the certificate that is claimed for the input `x`, number `index`.

    `terms` are those that the certificate was to be made with: its counts and its radius are checked under them,
    whatever it states itself; without them it is believed what it states. `false_alarm` is the level of each of the two
    statistical tests: a valid certificate is flagged by them with at most twice that probability (and an invalid one
    exists with probability alpha). `repeat` draws the certificate's own samples again, which must give its counts bit
    for bit on the same machine (up to `tolerance` counts on another machine). An abstention claims nothing: only its
    counts and input are checked. `reference` are labelled inputs for the segments and the contradictions; `outside` is
    the factor of the radius at which a second attack shows how tight the certificate is; `perturbations` are attacked
    along at the severities that the certificate covers and at that factor of them. `seed` keys the fresh samples.
    Computes on the device of `x`. Raises ValueError as `certify` for what is no classifier.
    """
    check_evaluates(classifier)
    require_tensor("x", x)
    check_contract(classifier, x, threads=workers > 1)
    certificate, reference = certificate.to(x.device), reference and Reference.of(reference)
    flags = []
    if not torch.equal(certificate.x, x) or (index is not None and certificate.index != index):
        flags.append("input")
    if terms is not None:
        flags += ["terms"] if certificate.differences(terms) else []
        certificate = certificate.under(terms)
    if not _possible(certificate):
        stated = certificate.index, certificate.prediction, certificate.radius
        return Audit(*stated, 0.0, None, 0.0, 1.0, None, None, None, {}, (*flags, "form"))
    differences = None
    if repeat:
        differences = count_differences(classifier, certificate, workers=workers)
        flags += ["counts"] if differences > tolerance else []
    largest, most = recomputed_radius(certificate), _proof(certificate).p_lower
    pairs = ((certificate.radius, largest), (certificate.p_lower, most))
    if not all(0 <= claimed <= proven * (1 + 1e-9) for claimed, proven in pairs):
        flags.append("radius")
    share, p_value, inside, beyond, against, along = 0.0, 1.0, None, None, None, {}
    if 0 <= certificate.prediction < len(certificate.counts):  # no abstention, and no class that there is not
        drawing: dict[str, Any] = {"samples": samples, "seed": seed, "batch": batch, "workers": workers}
        share, p_value = recount(classifier, certificate, **drawing)
        flags += ["recount"] if p_value < false_alarm else []
        against = contradictions(certificate, reference) if reference is not None else None
        drawing["level"] = false_alarm / (1 + len(perturbations))
        attempt = partial(attack, classifier, certificate, reference=reference, **drawing)
        inside, beyond = attempt(factor=INSIDE), attempt(factor=outside)
        places = {"inside": 1.0, "outside": outside}
        stored: dict[str, Any] = {} if terms is None else {"clamp": terms.clamp, "rounding": terms.rounding}
        for it in perturbations:
            found = partial(attack_along, classifier, certificate, it, **stored, **drawing)
            along[it.name] = {place: found(factor=factor) for place, factor in places.items()}
        tried = [inside, *(found["inside"] for found in along.values())]
        flags += ["attack"] if any(it.broken and it.distance < certificate.radius for it in tried) else []
        away = [found["inside"].distance for found in along.values()]
        flags += ["severity"] if any(not it <= certificate.radius * OUTSIDE for it in away) else []
    return Audit(
        index=certificate.index,
        prediction=certificate.prediction,
        radius=certificate.radius,
        largest_radius=largest,
        count_differences=differences,
        recount_share=share,
        recount_p_value=p_value,
        inside=inside,
        outside=beyond,
        contradictions=against,
        along=along,
        flags=tuple(flags),
    )


def count_differences(classifier: Classifier, certificate: Certificate, *, workers: int = 1) -> int:
    """How many of a certificate's samples are counted otherwise when they are drawn again from their keys.

    0 unless the scale, the input, the classifier, the seed or the purpose of the samples is not the stated one, or
    another machine rounds otherwise. Selection and certification samples have different keys, so that neither can
    stand for the other.
    """
    differences = 0
    for purpose, stored, samples in (
        (Purpose.SELECTION, certificate.selection_counts, certificate.selection_samples),
        (Purpose.CERTIFICATION, certificate.counts, certificate.samples),
    ):
        it, stream, batch = certificate.smoothed(classifier), certificate.stream(purpose), certificate.batch
        if purpose is Purpose.CERTIFICATION and certificate.decision is not None:
            *_, (again, _) = running_counts(it, certificate.x, stream, samples, batch=batch, workers=workers)
        else:
            (again,) = shared_counts([Asked(it, certificate.x, stream.draws(samples, batch))], batch, workers)
        width = max(len(again), len(stored))
        pairs = (torch.nn.functional.pad(each, (0, width - len(each))) for each in (again, torch.tensor(stored)))
        differences += int(torch.sub(*pairs).abs().sum())
    return differences


def recomputed_radius(certificate: Certificate) -> float:
    """The largest radius that the stored counts allow: of the class that the selection samples chose, else 0."""
    proof = _proof(certificate)
    return proof.radius if proof.prediction == certificate.prediction else 0.0


def _proof(certificate: Certificate) -> Proof:
    """What the stored counts prove under the terms that the certificate states."""
    it = certificate
    return it.terms.prove(it.selection_counts, it.counts, it.scale, index=it.index)


def _possible(certificate: Certificate) -> bool:
    """Whether a certificate can have these terms and counts, and this scale and grid at its input."""
    x, scale = certificate.x.flatten(), certificate.scale
    try:
        if (step := certificate.terms.grid) is not None:
            Grid(x, scale, step)
    except ValueError:
        return False
    it, chosen = certificate, certificate.selection_counts
    counted = are_counts(chosen, it.selection_samples) and are_counts(it.counts, it.samples)
    return counted and len(chosen) > 0 and it.batch > 0 and len(x) == scale.dim


def recount(
    classifier: Classifier,
    certificate: Certificate,
    *,
    samples: int = 10_000,
    seed: int = 0,
    batch: int = 256,
    workers: int = 1,
) -> tuple[float, float]:
    """The share of fresh samples that answer the certified class, and the p-value of the claim.

    The radius rho claims a probability, Phi(rho) of Gaussian noise; the p-value is the binomial probability, exact, of
    no more successes than were found if it were just that.
    """
    from scipy.stats import binom

    draws = Stream(seed, certificate.index, Purpose.RECOUNT).draws(samples, batch)
    found = count_class(classifier, certificate, certificate.x, draws, workers)
    return found / samples, float(binom.cdf(found, samples, certificate.family.probability(certificate.radius)))
