"""The network that the smoothing literature uses on MNIST."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class SmallCNN(nn.Module):
    """3x3 convolutions 32, 32, pool, 64, 64, pool, linear 200, 200, classes, with rectifiers between.

    Maps images [n, *shape] to logits [n, classes]. Source: Carlini & Wagner 2017; Zhai et al. (MACER), ICLR 2020.
    """

    def __init__(self, shape: tuple[int, ...], classes: int, padding: int = 0) -> None:
        super().__init__()

        def convolution(before: int, after: int) -> list[nn.Module]:
            return [nn.Conv2d(before, after, 3, padding=padding), nn.ReLU()]

        features = nn.Sequential(
            *convolution(shape[0], 32),
            *convolution(32, 32),
            nn.MaxPool2d(2),
            *convolution(32, 64),
            *convolution(64, 64),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        width = features(torch.zeros(1, *shape)).shape[1]
        head = [nn.Linear(width, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, classes)]
        self.layers = nn.Sequential(features, *head).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, inputs: Float[Tensor, "n *shape"]) -> Float[Tensor, "n k"]:
        return self.layers(inputs.contiguous(memory_format=torch.channels_last))
