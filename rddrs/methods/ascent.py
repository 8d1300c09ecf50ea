"""The low-variance ascent in the d unknowns a of a flat: what it maximises, and how (METHOD sections 4.2 and 4.3)."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rddrs.noise import Norm, family_of

LARGEST_RADIUS = 3.6
"""Margin radii are cut here: what 100,000 samples can certify at alpha = 0.001 is 3.8."""

SMALLEST_RADIUS = 0.05

BACKTRACKS = (1.0, 0.75, 0.5, 0.25)
"""The shares of a step that are tried, in this order, until one is accepted."""


def margins(logits: Float[Tensor, "n k"], labels: Int[Tensor, " n"], temperature: float = 1.0) -> Float[Tensor, " n"]:
    """The label's logit minus the log-sum-exp of the others, of logits / temperature: the log-odds of the softmax."""
    scaled = logits / temperature
    own = torch.nn.functional.one_hot(labels, logits.shape[1]).bool()
    return scaled[own] - scaled.masked_fill(own, -torch.inf).logsumexp(dim=1)


def margin_radius(margins: Float[Tensor, "m n"], norm: Norm = "l2") -> Float[Tensor, " m"]:
    """rho(p_A) of normally distributed margins, for each of m inputs with n draws: of l2 mean / standard deviation.

    Exact for a linear two-class network and Gaussian noise. Other than Phi^-1 of an estimated probability it does not
    saturate where none of a hundred draws is misclassified, which is where certificates are.
    """
    deviation = margins.std(dim=1).clamp_min(torch.finfo(margins.dtype).tiny)
    return family_of(norm).margin_radius((margins.mean(dim=1) / deviation).clamp(0.0, LARGEST_RADIUS))


def height(
    radii: Float[Tensor, " m"],
    gain: Float[Tensor, ""],
    smallest: Float[Tensor, ""] | float,
    reference_margins: Float[Tensor, " n"],
    *,
    kappa: float,
    mu: float,
) -> Float[Tensor, ""]:
    """J = log R + gain + kappa lambda_min - mu (share of wrong answers on the reference inputs).

    log R is averaged over the `radii`, so that an input whose radius is small counts most; `gain` is what an `Aim`
    makes of a: up to a constant (1/d) log det C where volume is the aim. The share of wrong answers is soft: the mean
    of sigmoid(-margin).
    """
    log_radius = radii.clamp_min(SMALLEST_RADIUS).log().mean()
    wrong = torch.sigmoid(-reference_margins).mean() if mu else 0.0
    return log_radius + gain + kappa * smallest - mu * wrong


def climb(
    value: Callable[[Float[Tensor, " d"], int], Float[Tensor, ""]],
    lowest: Float[Tensor, " d"],
    iterations: int,
    gamma: float,
) -> Float[Tensor, " d"]:
    """Maximise value(a, step) by Adam from a = 0, a >= lowest, with a learning rate that falls linearly to zero.

    Returns the mean of the last third of the iterates. Raises FloatingPointError where a is not finite.
    """
    a = torch.zeros_like(lowest).requires_grad_()
    optimizer = torch.optim.Adam([a], lr=gamma, betas=(0.9, 0.99), maximize=True)
    total, first = torch.zeros_like(lowest), iterations - (iterations + 2) // 3
    for step in range(iterations):
        optimizer.param_groups[0]["lr"] = gamma * (1 - step / iterations)
        (a.grad,) = torch.autograd.grad(value(a, step), a)
        optimizer.step()
        with torch.no_grad():
            a.clamp_(min=lowest)
        if not torch.isfinite(a).all():
            raise FloatingPointError(f"the ascent is not finite after iteration {step}")
        if step >= first:
            total += a.detach()
    return total / (iterations - first)
