"""Networks that return logits, and their weights on disk."""

import pickle
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rddrs.store import replacing


class LeNet(nn.Module):
    """Two convolutions and a linear layer (conv 5x5 16, pool, conv 5x5 32, pool, linear), as in the RDDRS paper.

    Maps images [n, *shape] to logits [n, classes]. The rectifier follows the pooling, with which it commutes, and the
    weights are laid out channels last: the same function, more than twice as fast on a CPU.
    """

    def __init__(self, shape: tuple[int, ...], classes: int, kernel: int = 5, padding: int = 0) -> None:
        super().__init__()
        features = nn.Sequential(
            nn.Conv2d(shape[0], 16, kernel, padding=padding),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Conv2d(16, 32, kernel, padding=padding),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Flatten(),
        )
        width = features(torch.zeros(1, *shape)).shape[1]
        self.layers = nn.Sequential(features, nn.Linear(width, classes)).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, inputs: Float[Tensor, "n *shape"]) -> Float[Tensor, "n k"]:
        return self.layers(inputs.contiguous(memory_format=torch.channels_last))


class Perceptron(nn.Module):
    """Two hidden layers; maps inputs [n, *shape] to logits [n, classes]."""

    def __init__(self, shape: tuple[int, ...], classes: int, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(torch.Size(shape).numel(), width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, classes),
        )

    def forward(self, inputs: Float[Tensor, "n *shape"]) -> Float[Tensor, "n k"]:
        return self.layers(inputs)


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


def save_weights(network: nn.Module, path: Path) -> None:
    """Write the state dict as safetensors, all of it or nothing."""
    with replacing(path) as part:
        save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, part)


def load_weights(network: nn.Module, path: Path) -> None:
    """Load a state dict (`.safetensors`, else a torch file, read with `weights_only=True`) into the network.

    Raises ValueError where the file is missing, damaged, or does not fit the network.
    """
    if not path.is_file():
        raise ValueError(f"classifier.checkpoint={path}: there is no such file")
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise ValueError(f"classifier.checkpoint={path} cannot be read as a state dict: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"classifier.checkpoint={path} is no state dict: it must map parameter names to tensors")
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"classifier.checkpoint={path} does not fit {type(network).__name__}: {error}") from error
