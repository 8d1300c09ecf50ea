"""Labelled inputs, the evaluation subset and the reference set."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rddrs.digests import digest
from rddrs.noise import Purpose, generator
from rddrs.smoothing import Reference


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled training and test inputs, each of shape [n, *shape], labels 0 .. classes - 1.

    Raises ValueError where inputs are not finite or counts do not fit.
    """

    train_inputs: Float[Tensor, "n *shape"]
    train_labels: Int[Tensor, " n"]
    test_inputs: Float[Tensor, "m *shape"]
    test_labels: Int[Tensor, " m"]
    classes: int

    def __post_init__(self) -> None:
        for part, inputs, labels in (
            ("train", self.train_inputs, self.train_labels),
            ("test", self.test_inputs, self.test_labels),
        ):
            if len(inputs) != len(labels):
                raise ValueError(f"data: {len(inputs)} {part} inputs but {len(labels)} {part} labels")
            bad = torch.nonzero(~torch.isfinite(inputs.flatten(1)).all(dim=1)).flatten()
            if len(bad):
                raise ValueError(f"data: {part} input {bad[0].item()} holds NaN or infinite entries")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return tuple(self.test_inputs.shape[1:])

    @cached_property
    def digest(self) -> str:
        """What tells the content, inputs and labels of both parts, from any other, wherever it was read from."""
        parts = ("train_inputs", "train_labels", "test_inputs", "test_labels")
        return digest(f"{self.classes} classes", {name: getattr(self, name) for name in parts})

    def rotated(self, rotation: Float[Tensor, "d d"]) -> "Dataset":
        """The same data with every flattened input x turned into Q x, Q = `rotation`."""
        turned = {
            name: (inputs.flatten(1) @ rotation.mT).view_as(inputs)
            for name, inputs in {"train_inputs": self.train_inputs, "test_inputs": self.test_inputs}.items()
        }
        return replace(self, **turned)

    def evaluation_indices(self, subset: int | None) -> list[int]:
        """`subset` evenly spaced indices of the test set, from 0; all of them where it is None."""
        count = len(self.test_inputs)
        if subset is None:
            return list(range(count))
        if subset > count:
            raise ValueError(f"data.subset={subset}: the test set has {count} inputs: use fewer, or null for all")
        return [position * count // subset for position in range(subset)]

    def reference(self, size: int, seed: int, part: int = 0) -> Reference:
        """A seeded random choice of `size` training inputs (at most half of them); parts 0 and 1 have none in common.

        Part 0 is for measuring: what a method looks at is part 1, so that its fidelity is not that of what it fitted.
        """
        order = torch.randperm(len(self.train_inputs), generator=generator(seed, 0, Purpose.REFERENCE))
        size = min(size, len(order) // 2)
        chosen = order[part * size : (part + 1) * size]
        return Reference(self.train_inputs[chosen], self.train_labels[chosen])
