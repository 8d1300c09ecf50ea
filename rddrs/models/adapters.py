"""Networks around a network: what makes it one that returns logits for the inputs that it is given."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn


class LogProbabilities(nn.Module):
    """Makes a network that ends in a softmax return logits: softmax(log p) = p."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Float[Tensor, "n *shape"]) -> Float[Tensor, "n k"]:
        probabilities = self.network(inputs)
        return probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log()


class Rotated(nn.Module):
    """The network u -> F(Q^T u), Q = `rotation`: what F answers at x, this answers at Q x."""

    rotation: Tensor

    def __init__(self, network: nn.Module, rotation: Float[Tensor, "d d"]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("rotation", rotation, persistent=False)

    def forward(self, inputs: Float[Tensor, "n *shape"]) -> Float[Tensor, "n k"]:
        return self.network((inputs.flatten(1) @ self.rotation).view_as(inputs))


Output = Literal["logits", "probabilities"]


def as_logits(network: nn.Module, output: Output) -> nn.Module:
    """The network as one that returns logits; `output` says what it returns itself: it is never guessed."""
    return LogProbabilities(network) if output == "probabilities" else network
