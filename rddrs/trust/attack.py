"""An attack on a certified region: the worst point that it finds, judged by a fresh exact test."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rddrs.certification import ABSTAIN, Certificate, certified_severity
from rddrs.noise import Draws, Purpose, Stream
from rddrs.smoothing import (
    Classifier,
    Reference,
    check_evaluates,
    clopper_pearson_upper,
    hard_counts,
    soft_probabilities,
)
from rddrs.threats import Perturbation, stored

INSIDE = 1 - 1e-4
"""An attack on a region stays this far inside, so that the rounding of its points cannot carry them out."""

OUTSIDE = 1 + 1e-5
"""An image this far out, in radii, is outside of the region, whatever its float32 entries are rounded to."""

TRIED, NUMBERS = 1_000, 1 << 20
"""Severities that an attack tries, and so many numbers of their images together."""

APART = 1024
"""The first draws of the points that are screened are so many micro-batches apart."""

PLACES = 33
"""How many points between one that was found and the input are tried for a place on the grid within the radius."""


@dataclass(frozen=True)
class Attack:
    """The best point that an attack found at |B^-1 delta| <= factor * radius, in the norm of the certificate.

    `kind` is how it was found: `ascent`, `random`, `segment` or the name of a perturbation. `upper` is the upper
    confidence bound of the certified class's probability at the point, from fresh samples; `broken` says that it is
    below one half, which no point of a valid region allows.
    """

    factor: float
    kind: str
    distance: float
    share: float
    upper: float

    @property
    def broken(self) -> bool:
        return self.upper < 0.5


def attack(
    classifier: Classifier,
    certificate: Certificate,
    *,
    factor: float = INSIDE,
    reference: Reference | tuple[Any, Any] | None = None,
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
    """Looks for a point with |B^-1 delta| <= factor * radius where the smoothed classifier answers another class.

    Candidates: projected gradient ascent in the region's own norm, on the probability of the certified class as mean
    over `draws` noise samples a step; random points of the boundary; the segments to the nearest reference inputs of
    other classes. `screening` samples choose among them, and `samples` fresh ones judge that one choice: under a
    valid certificate it is `broken` with probability `level` at most. A certificate on a grid is attacked at points of
    the grid. Raises ValueError for an abstention and for a network in train mode. Computes on the certificate's device.
    """
    check_evaluates(classifier)
    if certificate.prediction == ABSTAIN:
        raise ValueError("an abstention has no region to attack")
    source = Stream(seed, certificate.index, Purpose.ATTACK).generator(certificate.x.device)
    radius = factor * certificate.radius
    candidates = [("ascent", _ascent(classifier, certificate, radius, steps, draws, source))]
    corners = certificate.family.directions(random_points, certificate.x, source)
    deltas = certificate.scale.spread(radius * corners).view(-1, *certificate.x.shape)
    candidates += [("random", certificate.x + delta) for delta in deltas]
    if reference is not None:
        reference = Reference.of(reference).to(certificate.x.device)
        candidates += [("segment", point) for point in _segments(certificate, reference, radius, neighbours)]
    candidates = [(kind, _placed(certificate, point, radius)) for kind, point in candidates]
    keys = (seed, batch, workers)
    kind, point = candidates[_worst(classifier, certificate, [point for _, point in candidates], screening, *keys)]
    return _verdict(classifier, certificate, point, samples, level, *keys, factor=factor, kind=kind)


def attack_along(
    classifier: Classifier,
    certificate: Certificate,
    perturbation: Perturbation,
    *,
    factor: float = 1.0,
    clamp: tuple[float, float] | None = None,
    rounding: float | None = None,
    samples: int = 10_000,
    level: float = 1e-4,
    screening: int = 256,
    seed: int = 0,
    batch: int = 256,
    workers: int = 1,
) -> Attack:
    """The verdict on an image at a severity up to `factor` times those that are certified; `kind` is the perturbation.

    Images are clamped and rounded as certified. Candidates are both ends of the interval times the factor, at most the
    perturbation's limit, and, for a factor of 1 at most, the farthest of `TRIED` severities between them; `screening`
    samples choose among them, but one that is outside of the region, though its severity is certified, is what is
    looked for: its `distance` says so, or is NaN. Under a valid certificate it is `broken` for a factor of 1 with
    probability `level` at most. With a grid it is the place of the image; where it is not rounded, of images that are
    inside, for a factor of 1 at most, the last on the way there that is within the radius. Raises ValueError where the
    perturbation is none for the input.
    """
    found = certified_severity(certificate, perturbation, clamp=clamp, rounding=rounding)
    limit, keys = perturbation.limit, (seed, batch, workers)
    ends = [max(factor * found.low, -limit), min(factor * found.high, limit)][0 if perturbation.two_sided else 1 :]

    def images(severities: Float[Tensor, " n"]) -> Float[Tensor, "n *shape"]:
        points = perturbation.points(certificate.x, severities.to(certificate.x.device))
        return stored(points, clamp, rounding)

    def lengths(points: Float[Tensor, "n *shape"]) -> Float[Tensor, " n"]:
        return certificate.family.length((points - certificate.x.double()).flatten(1), certificate.scale)

    candidates = images(torch.tensor(ends, dtype=torch.float64))
    if factor <= 1:
        source = Stream(seed, certificate.index, Purpose.ATTACK).generator()
        tried = torch.empty(TRIED, dtype=torch.float64).uniform_(
            ends[0] if len(ends) > 1 else 0, ends[-1], generator=source
        )
        parts = tried.split(max(1, NUMBERS // certificate.x.numel()))
        farthest = tried[int(torch.cat([lengths(images(part)) for part in parts]).argmax())]
        candidates = torch.cat([candidates, images(farthest[None])])
    beyond = lengths(candidates)
    points, out = candidates.to(certificate.x), factor <= 1 and not beyond.max() < certificate.radius * OUTSIDE
    if rounding is None:
        radius = math.inf if out or factor > 1 else certificate.radius
        points = torch.stack([_placed(certificate, point, radius) for point in points])
    chosen = int(beyond.argmax()) if out else _worst(classifier, certificate, points, screening, *keys)
    return _verdict(
        classifier, certificate, points[chosen], samples, level, *keys, factor=factor, kind=perturbation.name
    )


def _verdict(
    classifier: Classifier,
    certificate: Certificate,
    point: Float[Tensor, "*shape"],
    samples: int,
    level: float,
    seed: int,
    batch: int,
    workers: int,
    *,
    factor: float,
    kind: str,
) -> Attack:
    """What fresh samples say of one point, which was chosen without them."""
    draws = Stream(seed, certificate.index, Purpose.VERDICT).draws(samples, batch)
    found = count_class(classifier, certificate, point, draws, workers)
    delta = point.double() - certificate.x.double()
    distance = certificate.family.length(delta.flatten()[None], certificate.scale).item()
    return Attack(factor, kind, distance, found / samples, clopper_pearson_upper(found, samples, level))


def _worst(
    classifier: Classifier,
    certificate: Certificate,
    points: Sequence[Tensor] | Float[Tensor, "n *shape"],
    samples: int,
    seed: int,
    batch: int,
    workers: int,
) -> int:
    """Which point has the fewest answers of the certified class; the first of several."""
    stream = Stream(seed, certificate.index, Purpose.ATTACK)
    found = [
        count_class(classifier, certificate, point, stream.draws(samples, batch, first=1 + APART * number), workers)
        for number, point in enumerate(points)
    ]
    return min(range(len(found)), key=found.__getitem__)


def count_class(
    classifier: Classifier,
    certificate: Certificate,
    point: Float[Tensor, "*shape"],
    draws: Sequence[Draws],
    workers: int,
) -> int:
    """How many of the answers at draws of noise at `point` are the certified class."""
    counts = hard_counts(certificate.smoothed(classifier), point, draws, workers)
    return int(counts[certificate.prediction]) if certificate.prediction < len(counts) else 0


def _placed(certificate: Certificate, point: Float[Tensor, "*shape"], radius: float) -> Float[Tensor, "*shape"]:
    """The point; with a grid, the place of the last on its way from x whose place is within the radius."""
    if (step := certificate.grid) is None:
        return point
    shares = torch.linspace(1, 0, PLACES, dtype=torch.float64, device=point.device).view(-1, *[1] * point.ndim)
    x = certificate.x.double()
    places = step * ((x + shares * (point.double() - x)) / step).round()
    within = certificate.family.length((places - x).flatten(1), certificate.scale) <= radius
    return places[int(within.int().argmax())].to(point)


def _ascent(
    classifier: Classifier,
    certificate: Certificate,
    radius: float,
    steps: int,
    draws: int,
    source: torch.Generator,
) -> Float[Tensor, "*shape"]:
    """Projected gradient ascent on -log p of the certified class, in u = B^-1 delta with |u| <= radius."""
    x, scale, family = certificate.x, certificate.scale, certificate.family
    whitened = torch.zeros(1, x.numel(), dtype=x.dtype, device=x.device)
    step = 2.5 * radius / steps
    for _ in range(steps):
        whitened.requires_grad_()
        point = x + scale.spread(whitened).view_as(x)
        noise = scale.spread(family.draw(draws, x, source))
        probabilities = soft_probabilities(classifier, point, noise)
        loss = -probabilities[certificate.prediction].clamp_min(torch.finfo(x.dtype).tiny).log()
        gradient = torch.autograd.grad(loss, whitened)[0] if loss.requires_grad else torch.zeros_like(whitened)
        with torch.no_grad():
            stuck = not (torch.isfinite(gradient).all() and gradient.abs().max() > 0)
            direction = family.directions(1, x, source) if stuck else family.steepest(gradient)
            whitened = family.projected(whitened + step * direction, radius)
    return x + scale.spread(whitened.detach()).view_as(x)


def _segments(
    certificate: Certificate, reference: Reference, radius: float, neighbours: int
) -> list[Float[Tensor, "*shape"]]:
    """The points where the segments to the nearest reference inputs of other classes leave |B^-1 delta| <= radius."""
    others = reference.inputs[reference.labels != certificate.prediction].to(certificate.x)
    deltas = others - certificate.x
    distances = certificate.family.length(deltas.flatten(1), certificate.scale)
    nearest = distances.argsort()[:neighbours]
    return [certificate.x + deltas[i] * min(1.0, radius / distances[i].item()) for i in nearest.tolist()]
