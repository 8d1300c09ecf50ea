"""What flats are made from: the margin's gradients, and second moments of them and of a threat's displacements."""

import math
from collections.abc import Iterable, Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rddrs.data import Inputs
from rddrs.methods.ascent import margins
from rddrs.methods.base import Track, untracked
from rddrs.noise import Full, Kronecker, Norm, Scale, family_of, rotate
from rddrs.smoothing import Classifier, logits_of
from rddrs.threats import Threat


def slopes(
    classifier: Classifier,
    inputs: Float[Tensor, "m *shape"] | Inputs,
    labels: Int[Tensor, " m"],
    chosen: Int[Tensor, " n"],
    scale: Scale,
    source: torch.Generator,
    norm: Norm = "l2",
    temperature: float = 1.0,
    batch: int = 128,
    track: Track = untracked,
) -> Iterator[Float[Tensor, "b d"]]:
    """The margin's gradients g at x + B z, for every chosen input x, a micro-batch at a time.

    The noise has the distribution of that which the `norm` is certified with, drawn from the source.
    """
    family = family_of(norm)
    for part in track(chosen.split(batch), "gradients of the margin"):
        points = inputs[part].to(labels.device)
        noise = scale.spread(family.turned(family.draw(len(part), points[0], source), scale))
        noisy = (points.flatten(1) + noise).view_as(points).requires_grad_()
        found = margins(logits_of(classifier, noisy.clone()), labels[part], temperature)  # which it may change
        yield torch.autograd.grad(found.sum(), noisy)[0].flatten(1)


def fold(rows: Iterable[Float[Tensor, "n d"]], base: Full | Kronecker) -> Tensor:
    """The mean of w w^T over whitened rows w: [d, d] for a full C, its diagonal in Q, [d], for a Kronecker C."""
    total, count = torch.zeros(()), 0
    for part in rows:
        total = total + (part.square().sum(dim=0) if isinstance(base, Kronecker) else part.mT @ part)
        count += len(part)
    return total / count


def moment_of(slopes: Iterable[Float[Tensor, "n d"]], base: Full | Kronecker) -> Tensor:
    """The whitened M, of C g for the margin's gradients g."""
    if isinstance(base, Kronecker):
        turns, levels = [factor.mT for factor in base.factors], base.values.flatten()
        return fold((rotate(part, turns, base.values.shape) * levels for part in slopes), base)
    matrix = base.matrix
    return fold((part @ matrix for part in slopes), base)


def spreads_of(threat: Threat, inputs: Float[Tensor, "m *shape"], base: Full | Kronecker) -> list[Tensor]:
    """The whitened D_k of each part of a threat, of B^-1 delta for its displacements delta."""
    parts = (threat.displacements(it, inputs) for it in threat.perturbations)
    return [fold(map(base.whiten, rows), base) for rows in parts]


def gain(threat: Threat, inputs: Float[Tensor, "m *shape"], scale: Scale) -> float:
    """What a scale is worth to a threat: volume (1/d) log det C - sum_k weights_k (1/2) log tr(D_k Sigma^-1)."""
    found = threat.volume * math.log(scale.geometric_mean)
    for weight, it in zip(threat.weights, threat.perturbations, strict=True):
        rows = torch.cat([*map(scale.whiten, threat.displacements(it, inputs))])
        found -= weight * math.log(rows.square().sum(dim=1).mean().clamp_min(torch.finfo(rows.dtype).tiny)) / 2
    return found


def trace(moment: Tensor) -> Tensor:
    """The trace of what `fold` made."""
    return moment.trace() if moment.ndim == 2 else moment.sum()
