"""Monte Carlo with a gradient: the class probabilities of G_C."""

import torch
from jaxtyping import Float
from torch import Tensor

from rddrs.smoothing.edge import Classifier, logits_of


def soft_probabilities(
    classifier: Classifier, x: Float[Tensor, "*shape"], noise: Float[Tensor, "n d"]
) -> Float[Tensor, " k"]:
    """The mean of softmax(F) at x + noise: an estimate of G_C(x) that keeps the gradient with respect to the noise."""
    noisy = x + noise.view(-1, *x.shape)
    return torch.softmax(logits_of(classifier, noisy), dim=1).mean(dim=0)
