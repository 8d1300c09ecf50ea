"""Attempts to prove a certificate wrong: by its own counts, by fresh counts, and by an attack on its region.

No attempt trusts what it attacks: counts are drawn again, the radius is computed again, and an attack succeeds only
where a fresh exact test says so.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from scipy.stats import binom, norm
from torch import Tensor

from rddrs.audit import Reference, contradictions
from rddrs.bounds import clopper_pearson_upper
from rddrs.certify import ABSTAIN, Certificate, lower_bound
from rddrs.smoothing import Classifier, Purpose, draw, generator, hard_counts, running_counts, soft_probabilities

INSIDE = 1 - 1e-4
"""An attack on a region stays this far inside, so that the rounding of its points cannot carry them out."""


@dataclass(frozen=True)
class Attack:
    """The best point that an attack found at |C^-1 delta| <= factor * radius.

    `kind` is how it was found: `ascent`, `random` or `segment`. `upper` is the upper confidence bound of the
    certified class's probability at the point, from fresh samples; `broken` says that it is below one half, which no
    point of a valid region allows.
    """

    factor: float
    kind: str
    distance: float
    share: float
    upper: float

    @property
    def broken(self) -> bool:
        return self.upper < 0.5


@dataclass(frozen=True)
class Audit:
    """What the audit of one certificate found; `flags` name the ways in which it is broken, empty for an honest one.

    `input`: another input's region. `counts`: the stored counts are not those of the keyed samples. `radius`: larger
    than the counts allow. `recount`: fresh samples contradict the radius. `attack`: a point of the region has another
    class. None stands for a check that was not made. `outside` and `contradictions` describe an honest certificate.
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
    flags: tuple[str, ...]


def audit(
    classifier: Classifier,
    certificate: Certificate,
    x: Float[Tensor, "*shape"],
    *,
    index: int | None = None,
    reference: Reference | None = None,
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

    `false_alarm` is the level of each of the two statistical tests: a valid certificate is flagged by them with at
    most twice that probability (and an invalid one exists with probability alpha). `repeat` draws the certificate's
    own samples again, which must give its counts bit for bit on the same machine (up to
    `tolerance` counts on another machine). An abstention claims nothing: only its counts and input are checked.
    `reference` are labelled inputs for the segments and the contradictions; `outside` is the factor of the radius at
    which a second attack shows how tight the certificate is. `seed` keys the fresh samples.
    """
    flags = []
    if not torch.equal(certificate.x, x) or (index is not None and certificate.index != index):
        flags.append("input")
    differences = None
    if repeat:
        differences = count_differences(classifier, certificate, workers=workers)
        flags += ["counts"] if differences > tolerance else []
    largest = recomputed_radius(certificate)
    if certificate.radius > largest * (1 + 1e-9):
        flags.append("radius")
    share, p_value, inside, beyond, against = 0.0, 1.0, None, None, None
    if certificate.prediction != ABSTAIN:
        share, p_value = recount(classifier, certificate, samples=samples, seed=seed, batch=batch, workers=workers)
        flags += ["recount"] if p_value < false_alarm else []
        against = contradictions(certificate, reference) if reference is not None else None
        attempt = partial(
            attack,
            classifier,
            certificate,
            reference=reference,
            samples=samples,
            level=false_alarm,
            seed=seed,
            batch=batch,
            workers=workers,
        )
        inside, beyond = attempt(factor=INSIDE), attempt(factor=outside)
        flags += ["attack"] if inside.broken and inside.distance < certificate.radius else []
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
        drawing = (classifier, certificate.x, certificate.scale, samples)
        keys = {"purpose": purpose, "seed": certificate.seed, "index": certificate.index}
        sampling: dict[str, Any] = {**keys, "batch": certificate.batch, "workers": workers}
        if purpose is Purpose.CERTIFICATION and certificate.decision is not None:
            *_, (again, _) = running_counts(*drawing, **sampling)
        else:
            again = hard_counts(*drawing, **sampling)
        width = max(len(again), len(stored))
        pairs = (torch.nn.functional.pad(each, (0, width - len(each))) for each in (again, torch.tensor(stored)))
        differences += int(torch.sub(*pairs).abs().sum())
    return differences


def recomputed_radius(certificate: Certificate) -> float:
    """The largest radius that the stored counts allow: of the class that the selection samples chose, else 0."""
    top = int(torch.tensor(certificate.selection_counts).argmax())
    if certificate.prediction != top:
        return 0.0
    it = certificate
    return max(0.0, float(norm.ppf(lower_bound(it.bound, it.counts[top], it.samples, it.alpha, it.seed, it.index))))


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

    The radius rho claims a probability of at least Phi(rho); the p-value is the binomial probability, exact, of no
    more successes than were found if it were just that.
    """
    found = _count(classifier, certificate, certificate.x, samples, Purpose.RECOUNT, seed, batch, workers)
    return found / samples, float(binom.cdf(found, samples, norm.cdf(certificate.radius)))


def attack(
    classifier: Classifier,
    certificate: Certificate,
    *,
    factor: float = INSIDE,
    reference: Reference | None = None,
    samples: int = 10_000,
    level: float = 1e-4,
    steps: int = 20,
    draws: int = 64,
    random_points: int = 8,
    neighbours: int = 4,
    screening: int = 256,
    seed: int = 0,
    batch: int = 256,
    workers: int = 1,
) -> Attack:
    """Looks for a point with |C^-1 delta| <= factor * radius where the smoothed classifier answers another class.

    Candidates: projected gradient ascent in the region's own norm, on the probability of the certified class as mean
    over `draws` noise samples a step; random points of the boundary; the segments to the nearest reference inputs of
    other classes. `screening` samples choose among them, and `samples` fresh ones judge that one choice: under a
    valid certificate it is `broken` with probability `level` at most. Raises ValueError for an abstention.
    """
    if certificate.prediction == ABSTAIN:
        raise ValueError("an abstention has no region to attack")
    source = generator(seed, certificate.index, Purpose.ATTACK, block=0, device=certificate.x.device)
    radius = factor * certificate.radius
    candidates = [("ascent", _ascent(classifier, certificate, radius, steps, draws, source))]
    directions = draw(random_points, certificate.x, source)
    whitened = radius * directions / directions.norm(dim=1, keepdim=True)
    deltas = certificate.scale.noise(whitened).view(-1, *certificate.x.shape)
    candidates += [("random", certificate.x + delta) for delta in deltas]
    if reference is not None:
        candidates += [("segment", point) for point in _segments(certificate, reference, radius, neighbours)]
    shares = [
        _count(classifier, certificate, point, screening, Purpose.ATTACK, seed, batch, workers, first=1 + number * 1024)
        for number, (_, point) in enumerate(candidates)
    ]
    kind, point = candidates[min(range(len(shares)), key=shares.__getitem__)]
    found = _count(classifier, certificate, point, samples, Purpose.VERDICT, seed, batch, workers)
    delta = point.double() - certificate.x.double()
    distance = certificate.scale.whiten(delta.flatten()[None]).norm().item()
    return Attack(factor, kind, distance, found / samples, clopper_pearson_upper(found, samples, level))


def _count(
    classifier: Classifier,
    certificate: Certificate,
    point: Float[Tensor, "*shape"],
    samples: int,
    purpose: Purpose,
    seed: int,
    batch: int,
    workers: int,
    first: int = 0,
) -> int:
    """How many of `samples` noisy answers at `point` are the certified class."""
    counts = hard_counts(
        classifier,
        point,
        certificate.scale,
        samples,
        purpose=purpose,
        seed=seed,
        index=certificate.index,
        batch=batch,
        workers=workers,
        first=first,
    )
    return int(counts[certificate.prediction])


def _ascent(
    classifier: Classifier,
    certificate: Certificate,
    radius: float,
    steps: int,
    draws: int,
    source: torch.Generator,
) -> Float[Tensor, "*shape"]:
    """Projected gradient ascent on -log p of the certified class, in u = C^-1 delta with |u| <= radius."""
    x, scale = certificate.x, certificate.scale
    whitened = torch.zeros(1, x.numel(), dtype=x.dtype, device=x.device)
    step = 2.5 * radius / steps
    for _ in range(steps):
        whitened.requires_grad_()
        point = x + scale.noise(whitened).view_as(x)
        probabilities = soft_probabilities(classifier, point, scale.noise(draw(draws, x, source)))
        loss = -probabilities[certificate.prediction].clamp_min(torch.finfo(x.dtype).tiny).log()
        gradient = torch.autograd.grad(loss, whitened)[0] if loss.requires_grad else torch.zeros_like(whitened)
        with torch.no_grad():
            if not (torch.isfinite(gradient).all() and gradient.abs().max() > 0):
                gradient = draw(1, x, source)
            whitened = whitened + step * gradient / gradient.norm()
            whitened = whitened * min(1.0, radius / whitened.norm().item())
    return x + scale.noise(whitened.detach()).view_as(x)


def _segments(
    certificate: Certificate, reference: Reference, radius: float, neighbours: int
) -> list[Float[Tensor, "*shape"]]:
    """The points where the segments to the nearest reference inputs of other classes leave |C^-1 delta| <= radius."""
    others = reference.inputs[reference.labels != certificate.prediction].to(certificate.x)
    deltas = others - certificate.x
    distances = certificate.scale.whiten(deltas.flatten(1)).norm(dim=1)
    nearest = distances.argsort()[:neighbours]
    return [certificate.x + deltas[i] * min(1.0, radius / distances[i].item()) for i in nearest.tolist()]
