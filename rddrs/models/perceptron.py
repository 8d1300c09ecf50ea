"""A small network for inputs of any shape."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Perceptron(nn.Module):
    """Two hidden layers; maps inputs [n, *shape] to logits [n, classes]."""

    def __init__(self, shape: tuple[int, ...], classes: int, width: int = 64) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"width={width}: a number of units from 1 is needed")
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
