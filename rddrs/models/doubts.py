"""What looks wrong with the answers of a network whose weights are given, on labelled inputs without noise."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


@torch.no_grad()
def answers(network: nn.Module, inputs: Float[Tensor, "n *shape"]) -> Float[Tensor, "n k"]:
    """The logits of the inputs, in parts of 256, of copies that the network may write over."""
    return torch.cat([network(part.clone()) for part in inputs.split(256)])


def are_probabilities(logits: Float[Tensor, "n k"]) -> bool:
    """Whether what should be logits looks as if it were probabilities: not negative, each row of the sum 1."""
    return bool((logits >= 0).all() and (logits.sum(1) - 1).abs().max() < 1e-3)


def near_chance(logits: Float[Tensor, "n k"], labels: Int[Tensor, " n"], classes: int) -> float | None:
    """The share of right answers where that is less than a quarter of the way from chance to 1; else None."""
    accuracy = (logits.argmax(dim=1) == labels).double().mean().item()
    return accuracy if accuracy < 1 / classes + 0.25 * (1 - 1 / classes) else None
