"""An attack on a path: the worst of its images that is found, judged by fresh draws."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rddrs.certification import PathCertificate
from rddrs.certification.cells import Course
from rddrs.noise import Purpose, Stream
from rddrs.smoothing import SmoothedClassifier, clopper_pearson_upper, hard_counts, soft_probabilities
from rddrs.trust.attack import APART, INSIDE

TRIED = 64
"""Severities that an attack looks at."""


@dataclass(frozen=True)
class PathAttack:
    """The worst image that was found along a path: `upper` bounds the probability of its class from above.

    `kind` is `path`, or `slack` where a step within the slack was added. `broken`, an upper bound below one half, is
    what no point of a valid path allows.
    """

    severity: tuple[float, ...]
    kind: str
    share: float
    upper: float

    @property
    def broken(self) -> bool:
        return self.upper < 0.5


def attack_path(
    smoothed: SmoothedClassifier,
    path: PathCertificate,
    *,
    samples: int = 10_000,
    level: float = 1e-4,
    screening: int = 256,
    seed: int = 0,
    batch: int = 256,
    workers: int = 1,
) -> PathAttack:
    """The worst of the images along a path, and of steps within its slack from the worst of them, by fresh draws."""
    course = Course(path.perturbations, path.x, path.clamp)
    ends = [torch.tensor(np.atleast_1d(end), dtype=torch.float64) for end in (path.low, path.high)]
    attacking, judging = (Stream(seed, path.index, purpose) for purpose in (Purpose.ATTACK, Purpose.VERDICT))
    shares = torch.rand(TRIED, len(ends[0]), generator=attacking.generator(), dtype=torch.float64)
    shares[:2] = torch.tensor([[0.0], [1.0]])
    severities = (ends[0] + shares * (ends[1] - ends[0])).to(path.x.device)
    images, step = course.points(severities), path.rounding or path.grid
    images = (images if step is None else step * (images / step).round()).to(path.x.dtype).view(-1, *path.x.shape)

    def answered(image: Tensor, stream: Stream, count: int, first: int = 0) -> float:
        counts = hard_counts(smoothed, image, stream.draws(count, batch, first), workers)
        return int(counts[path.prediction]) / count if path.prediction < len(counts) else 0.0

    found = [answered(image, attacking, screening, 1 + APART * place) for place, image in enumerate(images)]
    worst = int(np.argmin(found))
    kind, image = "path", images[worst]
    if path.slack > 0:
        stepped = _stepped(smoothed, path, image)
        if answered(stepped, attacking, screening, 1 + APART * TRIED) <= found[worst]:
            kind, image = "slack", stepped
    right = round(samples * answered(image, judging, samples))
    upper = clopper_pearson_upper(right, samples, level)
    return PathAttack(tuple(severities[worst].tolist()), kind, right / samples, upper)


def _stepped(smoothed: SmoothedClassifier, path: PathCertificate, image: Float[Tensor, "*shape"]) -> Tensor:
    """The image and the step, within the slack, that the gradient of the class's probability says is worst."""
    source = Stream(0, path.index, Purpose.ATTACK).child(1 << 20).generator(image.device)
    whitened = torch.zeros(1, image.numel(), dtype=image.dtype, device=image.device).requires_grad_()
    point = image + path.scale.spread(whitened).view_as(image)
    noise = path.scale.spread(path.family.draw(64, image, source))
    loss = -soft_probabilities(smoothed.classifier, point, noise)[path.prediction].log()
    gradient = torch.autograd.grad(loss, whitened)[0] if loss.requires_grad else torch.zeros_like(whitened)
    stuck = not (torch.isfinite(gradient).all() and gradient.any())
    direction = path.family.directions(1, image, source) if stuck else path.family.steepest(gradient)
    for length in torch.linspace(INSIDE * path.slack, 0, 17).tolist():
        delta = path.scale.spread(length * direction).view_as(image)
        found = image + delta
        found = found if path.grid is None else (path.grid * (found.double() / path.grid).round()).to(image)
        if (
            path.family.length((found.double() - image.double()).flatten()[None], path.scale).item()
            <= INSIDE * path.slack
        ):
            return found.detach()
    return image
