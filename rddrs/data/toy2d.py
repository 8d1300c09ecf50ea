"""Three classes in the plane."""

import torch

from rddrs.data.dataset import Dataset
from rddrs.noise import Purpose, Stream


def toy2d(seed: int = 0, train: int = 3_000, test: int = 300) -> Dataset:
    """Three classes in the plane (the paper's Figure 1): a disc between two arms of a curved band, seeded."""
    source = Stream(seed, 0, Purpose.TOY).generator()
    count = train + test
    labels = torch.arange(count) % 3
    along = torch.rand(count, generator=source) * 2 - 1
    centre = torch.stack([3 * along, torch.zeros(count)], dim=1)
    centre[labels == 1, 1] = 1.5 + along[labels == 1] ** 2
    centre[labels == 2, 1] = -1.5 - along[labels == 2] ** 2
    inputs = centre + 0.25 * torch.randn(count, 2, generator=source)
    return Dataset(inputs[:train], labels[:train], inputs[train:], labels[train:], classes=3)
