"""The low-variance ascent: commuting geodesics in the eigenbasis of the gradient outer product (METHOD section 4.3).

With the covariance Sigma = C C and orthonormal V, the noise z diag(exp a) V^T C has the covariance

    Sigma(a) = C V diag(exp 2a) V^T C = Exp_Sigma(C V diag(2a) V^T C),

a flat of the affine-invariant metric, in which a is the only unknown: d numbers instead of d (d + 1) / 2. One
product with a fixed matrix makes the noise, so that a step costs little more than the network.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rddrs.noise import Full, spd
from rddrs.smoothing import Classifier

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


def margin_radius(margins: Float[Tensor, "m n"]) -> Float[Tensor, " m"]:
    """Phi^-1(p_A) of normally distributed margins, mean / standard deviation, for each of m inputs with n draws.

    Exact for a linear two-class network. Other than Phi^-1 of an estimated probability it does not saturate where
    none of a hundred draws is misclassified, which is where certificates are.
    """
    deviation = margins.std(dim=1).clamp_min(torch.finfo(margins.dtype).tiny)
    return (margins.mean(dim=1) / deviation).clamp(0.0, LARGEST_RADIUS)


def objective(
    radii: Float[Tensor, " m"],
    growth: Float[Tensor, " d"],
    smallest: Float[Tensor, ""] | float,
    reference_margins: Float[Tensor, " n"],
    *,
    kappa: float,
    mu: float,
) -> Float[Tensor, ""]:
    """J = log R + (1/d) log det C(a) + kappa lambda_min - mu (share of wrong answers on the reference inputs).

    log R is averaged over the `radii`, so that an input whose radius is small counts most; `growth` is a, up to a
    constant the log-determinant. The share of wrong answers is soft: the mean of sigmoid(-margin).
    """
    log_radius = radii.clamp_min(SMALLEST_RADIUS).log().mean()
    wrong = torch.sigmoid(-reference_margins).mean() if mu else 0.0
    return log_radius + growth.mean() + kappa * smallest - mu * wrong


def outer_product(
    classifier: Classifier,
    inputs: Float[Tensor, "n *shape"],
    labels: Int[Tensor, " n"],
    matrix: Float[Tensor, "d d"],
    z: Float[Tensor, "n d"],
    temperature: float = 1.0,
    batch: int = 128,
) -> Float[Tensor, "d d"]:
    """The whitened M, the mean of C g g^T C with g the margin's gradient at x + C z: one draw a row of `inputs`."""
    total = torch.zeros_like(matrix)
    for part, answers, rows in zip(inputs.split(batch), labels.split(batch), z.split(batch), strict=True):
        noisy = (part.flatten(1) + rows @ matrix).view(part.shape).requires_grad_()
        (gradient,) = torch.autograd.grad(margins(classifier(noisy), answers, temperature).sum(), noisy)
        whitened = gradient.flatten(1) @ matrix
        total += whitened.mT @ whitened
    return total / len(inputs)


@dataclass(frozen=True, eq=False)
class Flat:
    """The scales that a in R^d reaches from C along the commuting geodesics; a = 0 is C itself.

    `vectors` are V and `factor` is V^T C, its rows' lengths the noise levels along its axes. `sensitivity` are the
    eigenvalues of the whitened outer product: the margin's mean squared slope along each axis, ascending.
    """

    vectors: Float[Tensor, "d d"]
    factor: Float[Tensor, "d d"]
    sensitivity: Float[Tensor, " d"]

    @classmethod
    def of(cls, matrix: Float[Tensor, "d d"], whitened: Float[Tensor, "d d"]) -> "Flat":
        """The flat at C = `matrix` spanned by the eigenvectors of a whitened outer product."""
        values, vectors = torch.linalg.eigh(spd.symmetric(whitened.double()))
        factor = vectors.mT @ matrix.double()
        return cls(vectors.to(matrix.dtype), factor.to(matrix.dtype), values.clamp_min(0).to(matrix.dtype))

    def noise(self, a: Float[Tensor, " d"], z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Noise of the covariance Sigma(a), a row for every standard normal row."""
        return (z * a.exp()) @ self.factor

    def lowest(self, floor: float) -> Float[Tensor, " d"]:
        """The a below which an axis' noise level would be under the floor."""
        return (floor / self.factor.norm(dim=1)).log()

    def scale(self, a: Float[Tensor, " d"], floor: float) -> Full:
        """The square root C of Sigma(a), its eigenvalues raised to the floor."""
        half = self.factor.double() * a.double().exp()[:, None]
        values, vectors = torch.linalg.eigh(half.mT @ half)
        values = values.clamp_min(0).sqrt().clamp_min(floor)
        return Full(spd.symmetric((vectors * values) @ vectors.mT).to(self.factor.dtype))


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
