"""Networks around a network: what makes it one that returns logits for the inputs that it is given."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rddrs.smoothing import taken


class Adapter(nn.Module):
    """A network around a network, without weights of its own."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network


def bare(network: nn.Module) -> nn.Module:
    """The network itself, without the adapters around it: its weights are those that are kept on disk."""
    while isinstance(network, Adapter):
        network = network.network
    return network


class LogProbabilities(Adapter):
    """Makes a network that ends in a softmax return logits: softmax(log p) = p."""

    def forward(self, inputs: Float[Tensor, "n *shape"]) -> Float[Tensor, "n k"]:
        probabilities = self.network(inputs)
        return probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log()


class Logits(Adapter):
    """The network with its logits alone, where it answers with more: as Hugging Face's, a dictionary or a tuple."""

    def forward(self, inputs: Float[Tensor, "n *shape"]) -> Float[Tensor, "n k"]:
        return taken(self.network(inputs))


class Rotated(Adapter):
    """The network u -> F(Q^T u), Q = `rotation`: what F answers at x, this answers at Q x."""

    rotation: Tensor

    def __init__(self, network: nn.Module, rotation: Float[Tensor, "d d"]) -> None:
        super().__init__(network)
        self.register_buffer("rotation", rotation, persistent=False)

    def forward(self, inputs: Float[Tensor, "n *shape"]) -> Float[Tensor, "n k"]:
        return self.network((inputs.flatten(1) @ self.rotation).view_as(inputs))


class Normalized(Adapter):
    """The network u -> F((u - mean) / std), one mean and one std a channel: noise and radii stay in the input's units.

    `shape` is that of one input, channels first. Raises ValueError where the numbers do not fit its channels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float], shape: tuple[int, ...]) -> None:
        super().__init__(network)
        for name, values in (("mean", mean), ("std", std)):
            if len(values) != shape[0]:
                given = f"classifier.normalize.{name}={list(values)} has {len(values)} numbers"
                raise ValueError(f"{given}, inputs of shape {shape} have {shape[0]} channels: one a channel is needed")
            columns = torch.tensor(values, dtype=torch.float32).view(-1, *(1 for _ in shape[1:]))
            self.register_buffer(name, columns, persistent=False)
        if min(std) <= 0:
            raise ValueError(f"classifier.normalize.std={list(std)}: every standard deviation must be positive")

    def forward(self, inputs: Float[Tensor, "n *shape"]) -> Float[Tensor, "n k"]:
        return self.network((inputs - self.mean) / self.std)


Output = Literal["logits", "probabilities"]


def as_logits(network: nn.Module, output: Output) -> nn.Module:
    """The network as one that returns logits; `output` says what it returns itself: it is never guessed."""
    return LogProbabilities(network) if output == "probabilities" else network
