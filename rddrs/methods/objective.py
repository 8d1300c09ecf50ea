"""What the ascents maximise, as pure functions, and the gradients that are known in closed form."""

import torch
from jaxtyping import Float
from torch import Tensor

P_MIN, P_MAX = 0.001, 0.999
"""Estimated probabilities are kept in this range while optimising, as all the papers do."""


def gap(probabilities: Float[Tensor, " k"], label: int) -> Float[Tensor, ""]:
    """R = (Phi^-1(p_A) - Phi^-1(p_B)) / 2, p_A of the class `label`, p_B of the best other class.

    The paper's equation (2) with the 1/2 that it misses. Negative where another class is ahead.
    """
    others = torch.cat([probabilities[:label], probabilities[label + 1 :]])
    p_top = probabilities[label].clamp(P_MIN, P_MAX)
    p_runner_up = others.max().clamp(P_MIN, P_MAX)
    return (torch.special.ndtri(p_top) - torch.special.ndtri(p_runner_up)) / 2


def geometric_mean_gradient(matrix: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    """The Euclidean gradient of det(C)^(1/d): det(C)^(1/d) C^-1 / d."""
    return (matrix.logdet() / len(matrix)).exp() / len(matrix) * torch.linalg.inv(matrix)


def smallest_eigenvalue_gradient(matrix: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    """The Euclidean gradient of lambda_min: v v^T with the unit eigenvector v (one of them where it is repeated)."""
    vector = torch.linalg.eigh(matrix).eigenvectors[:, 0]
    return torch.outer(vector, vector)
