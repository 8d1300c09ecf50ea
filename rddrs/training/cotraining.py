"""Training a network and one noise scale together (METHOD section 4.4): each learns what the other leaves to it.

The scale grows along the directions that the network hardly uses, and the network, fine-tuned under that noise,
learns to use them less. The result is one fixed G_C, certified by the classical argument.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rddrs.data import Inputs
from rddrs.files import reading
from rddrs.methods import (
    Basis,
    Structure,
    Track,
    flat_at,
    margin_radius,
    margins,
    moment_of,
    slopes,
    spreads_of,
    structured,
    untracked,
)
from rddrs.models import load_weights, save_weights
from rddrs.noise import Isotropic, Norm, Purpose, Scale, Stream, family_of, load_scale, save_scale
from rddrs.smoothing import Classifier, Reference
from rddrs.threats import VOLUME, Threat
from rddrs.training.options import CotrainingOptions

UNUSED = 1e-3
"""An axis of a flat is of no use below this share of the aim, in units of the mean."""

DRAWS, OUTER = 64, 8_000
"""Draws at each of the pilots that measure the mean radius, and draws that make the outer product."""


def pilot(scale: Scale, like: Float[Tensor, "*shape"], seed: int, norm: Norm = "l2") -> Float[Tensor, "n d"]:
    """The rows z of the pilots: their noise hardly changes where C does, so that scales are compared without luck."""
    source, family = Stream(seed, 0, Purpose.PILOT).generator(like.device), family_of(norm)
    return family.turned(family.draw(DRAWS, like.new_empty(scale.dim), source), scale)


@torch.inference_mode()
def mean_radius(
    classifier: Classifier,
    pilots: Reference,
    noise: Float[Tensor, "n d"],
    norm: Norm = "l2",
) -> float:
    """The mean margin radius of the pilots under the given noise."""
    radii = []
    for x, label in zip(pilots.inputs, pilots.labels, strict=True):
        logits = classifier((x.flatten() + noise).view(-1, *x.shape))
        radii.append(margin_radius(margins(logits, label.expand(len(noise)))[None], norm))
    return torch.cat(radii).mean().item()


def grow(
    classifier: Classifier,
    inputs: Inputs,
    labels: Int[Tensor, " n"],
    pilots: Reference,
    scale: Scale,
    *,
    floor: float,
    least_radius: float,
    growth: float,
    structure: Structure = "auto",
    basis: Basis = "learned",
    threat: Threat = VOLUME,
    feared: Float[Tensor, "m *shape"] | None = None,
    seed: int = 0,
    turn: int = 0,
    norm: Norm = "l2",
    track: Track = untracked,
) -> Scale:
    """The largest scale, in closed form, at which the pilots' mean radius is at least `least_radius`.

    To first order the margin's variance is tr(M Sigma): least for a given volume at Sigma = t M^-1, and for the given
    severity of a threat at t M^-1 # D. Along the axes of the flat that is a = log(t target) / 2, here kept between the
    floor and log(growth), at the floor for what the aim does not use; t is found by bisection. The scale given is
    returned where no t will do. `feared` are the inputs that the threat moves: the pilots where there are no others.
    """

    def found() -> Iterator[Tensor]:
        source = Stream(seed, 0, Purpose.GLOBAL).child(turn).generator(labels.device)
        chosen = torch.randint(len(inputs), (OUTER,), generator=source, device=labels.device)
        return slopes(classifier, inputs, labels, chosen, scale, source, norm, track=track)

    moved = pilots.inputs if feared is None else feared
    base = structured(scale, structure, basis, moved, found, threat)
    flat = flat_at(base, moment_of(found(), base), threat, spreads_of(threat, moved, base))
    lowest = flat.lowest(floor)
    aligned = flat.aligned(pilot(base, pilots.inputs, seed, norm))
    used = flat.aim.shares > UNUSED / scale.dim
    logs = (flat.target / flat.target.max()).log().where(used, -torch.inf)
    low, high, best = -1.0, 2 * math.log(growth) - logs[used].min().item(), None
    for _ in track(range(10), "size of C"):
        middle = (low + high) / 2
        a = ((middle + logs) / 2).clamp(-math.log(growth), math.log(growth)).maximum(lowest)
        if mean_radius(classifier, pilots, flat.noise(a, aligned), norm) >= least_radius:
            low, best = middle, a
        else:
            high = middle
    return scale if best is None else flat.scale(best, floor)


def cotrain(
    network: nn.Module,
    inputs: Inputs,
    labels: Int[Tensor, " n"],
    pilots: Reference,
    fine_tune: Callable[[Scale, int, Path], None],
    folder: Path,
    options: CotrainingOptions,
    *,
    sigma: float,
    threat: Threat = VOLUME,
    feared: Float[Tensor, "m *shape"] | None = None,
    seed: int = 0,
    norm: Norm = "l2",
    track: Track = untracked,
) -> Scale:
    """Grow C from sigma I and fine-tune the network under it in turn, a round after the other; returns the last C.

    `fine_tune(scale, turn, folder)` trains the network in place under the noise of a scale and leaves it frozen. A
    round must leave the share `keep` of the pilots' mean radius at the start: inputs that the network is not trained
    on, whose radius longer training does not raise. The threat moves the inputs `feared`, or the pilots. Finished
    rounds are kept below `folder` and read, so that what was stopped goes on.
    """
    scale: Scale = Isotropic(sigma, inputs[0].numel())
    noise = scale.spread(pilot(scale, pilots.inputs, seed, norm))
    least_radius = options.keep * mean_radius(network, pilots, noise, norm)
    for turn in range(options.rounds):
        place = folder / f"round{turn}"
        place.mkdir(exist_ok=True)
        weights, region = place / "weights.safetensors", place / "scale.safetensors"
        if not region.exists():
            grown = grow(
                network,
                inputs,
                labels,
                pilots,
                scale,
                floor=sigma,
                least_radius=least_radius,
                growth=options.growth,
                structure=options.structure,
                basis=options.basis,
                threat=threat,
                feared=feared,
                seed=seed,
                turn=turn,
                norm=norm,
                track=track,
            )
            save_scale(grown, region)
        scale = load_scale(region, device=labels.device)
        if not weights.exists():
            fine_tune(scale, turn, place)
            save_weights(network, weights)
        with reading(weights):
            load_weights(network, weights, "weights")
    return scale
