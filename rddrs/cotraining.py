"""Training a network and one noise scale together (METHOD section 4.4): each learns what the other leaves to it.

The scale grows along the directions that the network hardly uses, and the network, fine-tuned under that noise,
learns to use them less. The result is one fixed G_C, certified by the classical argument.
"""

import copy
import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rddrs.ascent import Flat, margin_radius, margins, outer_product
from rddrs.scales import Isotropic, Scale
from rddrs.smoothing import Classifier, Purpose, generator

PILOTS, DRAWS, OUTER = 128, 64, 8_000
"""Training inputs and draws at each that measure the mean radius, and draws that make the outer product."""


def cotrain(
    network: nn.Module,
    inputs: Float[Tensor, "n *shape"],
    labels: Int[Tensor, " n"],
    *,
    sigma: float,
    rounds: int = 6,
    epochs: int = 2,
    last_epochs: int = 5,
    learning_rate: float = 1e-3,
    growth: float = 4.0,
    keep: float = 0.87,
    batch: int = 128,
    seed: int = 0,
) -> tuple[nn.Module, Scale]:
    """A fine-tuned copy of `network`, trained under N(0, sigma^2 I), and the scale C that belongs to it.

    Every round grows C (`grow`) as far as the mean radius stays above `keep` times that of the network given, with
    noise levels between sigma and `growth` times those of the round before, then fine-tunes the network under
    N(0, C C) for `epochs` epochs, `last_epochs` in the last round. Raises ValueError for arguments out of range.
    """
    for name, value, least in (
        ("rounds", rounds, 1),
        ("epochs", epochs, 1),
        ("last_epochs", last_epochs, 1),
        ("growth", growth, 1.0),
    ):
        if value < least:
            raise ValueError(f"cotrain: {name} must be at least {least}, not {value}")
    if not (0 < keep <= 1 and sigma > 0):
        raise ValueError(f"cotrain: sigma must be positive and keep in (0, 1], not {sigma} and {keep}")
    network = copy.deepcopy(network).requires_grad_(True)
    scale: Scale = Isotropic(sigma, inputs[0].numel())
    least_radius = keep * mean_radius(network, inputs, labels, scale.noise(pilot(scale, inputs, seed)))
    for turn in range(rounds):
        network.eval()
        scale = grow(
            network, inputs, labels, scale, floor=sigma, least_radius=least_radius, growth=growth, seed=seed, turn=turn
        )
        network.train()
        last = turn == rounds - 1
        fine_tune(
            network, inputs, labels, scale, last_epochs if last else epochs, learning_rate, batch, seed=seed, turn=turn
        )
    return network.eval(), scale


def pilot(scale: Scale, like: Float[Tensor, "*shape"], seed: int) -> Float[Tensor, "n d"]:
    """The standard normal rows of the pilots: the same for every scale, so that scales are compared without luck."""
    source = generator(seed, 0, Purpose.PILOT, device=like.device)
    return torch.randn(DRAWS, scale.dim, generator=source, dtype=like.dtype, device=like.device)


@torch.no_grad()
def mean_radius(
    classifier: Classifier,
    inputs: Float[Tensor, "m *shape"],
    labels: Int[Tensor, " m"],
    noise: Float[Tensor, "n d"],
) -> float:
    """The mean margin radius of the first training inputs under the given noise."""
    radii = []
    for x, label in zip(inputs[:PILOTS], labels[:PILOTS], strict=True):
        logits = classifier((x.flatten() + noise).view(-1, *x.shape))
        radii.append(margin_radius(margins(logits, label.expand(len(noise)))[None]))
    return torch.cat(radii).mean().item()


def grow(
    classifier: Classifier,
    inputs: Float[Tensor, "n *shape"],
    labels: Int[Tensor, " n"],
    scale: Scale,
    *,
    floor: float,
    least_radius: float,
    growth: float,
    seed: int = 0,
    turn: int = 0,
) -> Scale:
    """The scale of largest volume, in closed form, at which the mean radius is at least `least_radius`.

    To first order the margin's variance is tr(M Sigma), which for a given volume is least at Sigma = t M^-1. Along the
    eigenvectors of the whitened M that is a = log(t / sensitivity) / 2, here kept between the floor and log(growth);
    t is found by bisection. The scale given is returned where no t will do.
    """
    source = generator(seed, 0, Purpose.GLOBAL, turn, inputs.device)
    chosen = torch.randint(len(inputs), (OUTER,), generator=source, device=inputs.device)
    matrix = scale.matrix.to(inputs)
    z = torch.randn(OUTER, scale.dim, generator=source, dtype=inputs.dtype, device=inputs.device)
    flat = Flat.of(matrix, outer_product(classifier, inputs[chosen], labels[chosen], matrix, z))
    lowest = flat.lowest(floor)
    aligned = pilot(scale, inputs, seed) @ flat.vectors
    logs = (flat.sensitivity / flat.sensitivity[-1]).clamp_min(1e-12).log()
    low, high, best = logs[0].item() - 1, logs[-1].item() + 2 * math.log(growth), None
    for _ in range(10):
        middle = (low + high) / 2
        a = ((middle - logs) / 2).clamp(-math.log(growth), math.log(growth)).maximum(lowest)
        if mean_radius(classifier, inputs, labels, flat.noise(a, aligned)) >= least_radius:
            low, best = middle, a
        else:
            high = middle
    return scale if best is None else flat.scale(best, floor)


def fine_tune(
    network: nn.Module,
    inputs: Float[Tensor, "n *shape"],
    labels: Int[Tensor, " n"],
    scale: Scale,
    epochs: int,
    learning_rate: float,
    batch: int,
    *,
    seed: int = 0,
    turn: int = 0,
) -> None:
    """Train the network, in place, under the noise C z: cross-entropy, Adam, a learning rate that falls to zero."""
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    source = generator(seed, 0, Purpose.TRAINING, 1 << 20 | turn, inputs.device)
    total = epochs * -(-len(inputs) // batch)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=total)
    for _ in range(epochs):
        for part in torch.randperm(len(inputs), generator=source, device=inputs.device).split(batch):
            x = inputs[part]
            z = torch.randn(x.flatten(1).shape, generator=source, dtype=x.dtype, device=x.device)
            loss = nn.functional.cross_entropy(network(x + scale.noise(z).view_as(x)), labels[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
