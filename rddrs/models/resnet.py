"""Residual networks for small images (He et al. 2015, section 4.2)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut without parameters (option A: every second pixel, new channels zero)."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.stride, self.added = stride, after - before

    def forward(self, inputs: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c2 h2 w2"]:
        shortcut = inputs
        if self.added:
            below = self.added // 2
            shortcut = functional.pad(
                inputs[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, below, self.added - below)
            )
        found = functional.relu(self.bn1(self.conv1(inputs)))
        return functional.relu(self.bn2(self.conv2(found)) + shortcut)


class ResNet(nn.Module):
    """ResNet-20, 56, 110, or of any `depth` 6 n + 2; maps images [n, c, h, w] to logits [n, classes].

    Its three stages have `width`, 2 `width` and 4 `width` channels. Parameters are named as in the widespread
    implementations. Raises ValueError for another depth, for inputs that are no images, and for images of less than 8
    pixels.
    """

    def __init__(self, shape: tuple[int, ...], classes: int, depth: int = 20, width: int = 16) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"width={width}: a number of channels from 1 is needed")
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"depth={depth}: it must be 6 n + 2, as 20, 56 and 110 are")
        if len(shape) != 3 or min(shape[1:]) < 8:
            raise ValueError(f"inputs of shape {shape}: [channels, height, width] of at least 8 pixels is needed")
        blocks = (depth - 2) // 6

        def stage(before: int, after: int, stride: int) -> nn.Sequential:
            return nn.Sequential(Block(before, after, stride), *(Block(after, after, 1) for _ in range(blocks - 1)))

        self.conv1 = nn.Conv2d(shape[0], width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = stage(width, width, 1)
        self.layer2 = stage(width, 2 * width, 2)
        self.layer3 = stage(2 * width, 4 * width, 2)
        self.linear = nn.Linear(4 * width, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, inputs: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        found = functional.relu(self.bn1(self.conv1(inputs.contiguous(memory_format=torch.channels_last))))
        return self.linear(self.layer3(self.layer2(self.layer1(found))).mean(dim=(2, 3)))
