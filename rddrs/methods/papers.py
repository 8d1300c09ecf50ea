"""What the ascents of the papers maximise, as pure functions, and the gradients that are known in closed form."""

import torch
from jaxtyping import Float
from torch import Tensor

from rddrs.noise import Norm, family_of

P_MIN, P_MAX = 0.001, 0.999
"""Estimated probabilities are kept in this range while optimising, as all the papers do."""


def gap(probabilities: Float[Tensor, " k"], label: int, norm: Norm = "l2") -> Float[Tensor, ""]:
    """R = (rho(p_A) - rho(p_B)) / 2, p_A of the class `label`, p_B of the best other class.

    With the Phi^-1 of Gaussian noise the paper's equation (2) with the 1/2 that it misses. Negative where another class
    is ahead.
    """
    others = torch.cat([probabilities[:label], probabilities[label + 1 :]])
    p_top = probabilities[label].clamp(P_MIN, P_MAX)
    p_runner_up = others.max().clamp(P_MIN, P_MAX)
    family = family_of(norm)
    return (family.soft_radius(p_top) - family.soft_radius(p_runner_up)) / 2


def size(
    values: Float[Tensor, " d"], vectors: Float[Tensor, "d d"], kappa: float
) -> tuple[Float[Tensor, ""], Float[Tensor, "d d"]]:
    """det(C)^(1/d) + kappa lambda_min and its Euclidean gradient at the C of this spectrum, eigenvalues ascending.

    The gradient of the first is det(C)^(1/d) C^-1 / d, that of the second v v^T with the unit eigenvector v (one of
    them where the eigenvalue is repeated).
    """
    geometric_mean = values.log().mean().exp()
    smallest = torch.outer(vectors[:, 0], vectors[:, 0])
    gradient = geometric_mean / len(values) * (vectors / values) @ vectors.mT + kappa * smallest
    return geometric_mean + kappa * values[0], gradient
