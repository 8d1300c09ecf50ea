"""Labelled inputs, the evaluation subset and the reference set."""

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rddrs.data.inputs import Inputs, Selected, Stored, as_inputs, as_labels
from rddrs.digests import digest
from rddrs.noise import Purpose, Stream
from rddrs.smoothing import Reference

HELD_OUT = 500
"""Training inputs, or a tenth of them where that is less, that no network is trained on."""

PILOTS = 128
"""Of those, or half of them where that is less, the ones that the growth of a scale looks at."""


class Dataset:
    """Labelled training and test inputs, each of shape [n, *shape], labels 0 .. classes - 1.

    Inputs are tensors, NumPy arrays or `Inputs`, of any shape (images: channels first); 8- and 16-bit numbers without a
    sign stay what they are until a batch is asked for, which is in [0, 1]; 8-bit numbers that are all 0 or 1 are
    these numbers. `data.test_inputs[i]` is one input, `data.test_inputs[rows]` a batch, `data.test_inputs[:]` all of
    them, float32. `classes` is one more than the largest label where it is None. `grid` is the step of the grid that
    all entries lie on, where there is one: 1/255 of bytes, 1/65535 of 16 bits; `limits` are the least and the largest
    value that an entry can have: 0 and 1 of these. `notes` is what a person should know of how they were read. Raises
    ValueError where inputs are not finite, or labels, counts or shapes do not fit.
    """

    def __init__(
        self,
        train_inputs: Any,
        train_labels: Any,
        test_inputs: Any,
        test_labels: Any,
        classes: int | None = None,
        grid: float | None = None,
        notes: Iterable[str] = (),
        limits: tuple[float, float] | None = None,
    ) -> None:
        self.notes = list(notes)
        self.train_inputs, self.test_inputs = as_inputs(train_inputs, "train"), as_inputs(test_inputs, "test")
        self.train_labels, self.test_labels = as_labels(train_labels, "train"), as_labels(test_labels, "test")
        both = torch.cat([self.train_labels, self.test_labels])
        for part, inputs, labels in (
            ("train", self.train_inputs, self.train_labels),
            ("test", self.test_inputs, self.test_labels),
        ):
            if len(inputs) != len(labels):
                raise ValueError(f"data: {len(inputs)} {part} inputs but {len(labels)} {part} labels")
            if len(labels) == 0:
                raise ValueError(f"data: there are no {part} inputs")
        if len(self.train_labels) == 1:
            raise ValueError("data: there is one training input: at least two are needed")
        self.classes = int(both.max()) + 1 if classes is None else classes
        if classes is None and both.min() == 1:
            raise ValueError(
                f"data: labels from 1 to {both.max()} (they begin at 1: subtract 1): 0 .. classes - 1 are needed"
            )
        if not 2 <= self.classes <= len(both):
            raise ValueError(
                f"data: the largest label of {len(both)} is {both.max()}: class numbers 0 .. classes - 1 of at least "
                "two classes are needed: numpy.unique(y, return_inverse=True)[1] makes them"
            )
        for part, labels in (("train", self.train_labels), ("test", self.test_labels)):
            wrong = torch.nonzero((labels < 0) | (labels >= self.classes)).flatten().tolist()
            if wrong:
                found = f"the label of {part} input {wrong[0]} is {labels[wrong[0]]}"
                raise ValueError(f"data: {found}: labels are 0 .. {self.classes - 1}")
        if self.shape != (shape := tuple(self.train_inputs.shape[1:])):
            raise ValueError(f"data: test inputs have shape {self.shape}, training inputs {shape}: they must agree")
        if len(shape) == 3 and shape[2] in (1, 3, 4) and shape[0] not in (1, 3, 4):
            raise ValueError(
                f"data: inputs of shape {shape} look like images with their channels last; "
                "channels come first here: numpy.moveaxis(x, -1, 1)"
            )
        self._as_bits()
        missing = sorted(set(range(self.classes)) - set(self.train_labels.tolist())) if self.classes <= 1000 else []
        if missing:
            self.notes.append(f"data: no training input has the labels {', '.join(map(str, missing[:10]))}")
        self.grid = grid or (self.test_inputs.grid if self.train_inputs.grid else None)
        self.limits = limits or ((0.0, 1.0) if self.train_inputs.grid and self.test_inputs.grid else None)

    def _as_bits(self) -> None:
        """Take 8-bit numbers that are all 0 or 1 as these numbers: divided by 255 they would be nearly nothing."""
        both = [it.values for it in (self.train_inputs, self.test_inputs) if isinstance(it, Stored)]
        if [it.dtype for it in both] == [torch.uint8] * 2 and max(it.max().item() for it in both) == 1:
            self.train_inputs, self.test_inputs = (Stored(it.float()) for it in both)
            self.train_inputs.binary = self.test_inputs.binary = True
            self.notes.append("data: the inputs are 8-bit numbers 0 and 1: they are taken as they are, not as k/255")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return tuple(self.test_inputs.shape[1:])

    @cached_property
    def digest(self) -> str:
        """What tells the content, inputs and labels of both parts, from any other, wherever it was read from."""
        kind = f"{self.classes} classes {self.train_inputs.digest} {self.test_inputs.digest}"
        return digest(kind, {"train": self.train_labels, "test": self.test_labels})

    def rotated(self, rotation: Float[Tensor, "d d"]) -> "Dataset":
        """The same data with every flattened input x turned into Q x, Q = `rotation`."""
        train, test = (
            (inputs[:].flatten(1) @ rotation.mT).view(*inputs.shape) for inputs in (self.train_inputs, self.test_inputs)
        )
        return Dataset(train, self.train_labels, test, self.test_labels, self.classes)

    def evaluation_indices(self, subset: int | None) -> list[int]:
        """`subset` evenly spaced indices of the test set, from 0; all of them where it is None."""
        count = len(self.test_inputs)
        if subset is None:
            return list(range(count))
        if subset > count:
            raise ValueError(f"data.subset={subset}: the test set has {count} inputs: use fewer, or null for all")
        return [position * count // subset for position in range(subset)]

    def reference(self, size: int, seed: int, part: int = 0) -> Reference:
        """A seeded random choice of `size` training inputs; parts 0 and 1 have none in common.

        What a method looks at is part 1, contradictions are counted on part 0. Networks are trained on both: fidelity
        is measured on `measuring`, of which neither part has an input. Sets that are too small for that give fewer.
        """
        order = self._order(seed)
        size = min(size, (len(order) - self._held + self._pilots) // 2)
        return self._chosen(order[part * size : (part + 1) * size])

    def held_out(self, seed: int) -> Reference:
        """The training inputs that are kept from training, for its validation: `pilots` and all of `measuring`."""
        return self._chosen(self._order(seed)[len(self.train_inputs) - self._held :])

    def pilots(self, seed: int) -> Reference:
        """The training inputs that the growth of a scale looks at: held out of training."""
        kept = self.held_out(seed)
        return Reference(kept.inputs[: self._pilots], kept.labels[: self._pilots])

    def measuring(self, size: int, seed: int) -> Reference:
        """At most `size` training inputs that nothing was fitted on, neither network nor C: to measure fidelity on.

        Of fewer than 20 training inputs one is held out, and is the pilot, too.
        """
        kept, start = self.held_out(seed), self._pilots if self._held > 1 else 0
        return Reference(kept.inputs[start : start + size], kept.labels[start : start + size])

    def trained_on(self, seed: int) -> tuple[Inputs, Int[Tensor, " n"]]:
        """The training inputs that are not held out, and their labels."""
        rows = self._order(seed)[: len(self.train_inputs) - self._held]
        return Selected(self.train_inputs, rows.tolist()), self.train_labels[rows]

    @property
    def _held(self) -> int:
        return min(HELD_OUT, max(1, len(self.train_inputs) // 10))

    @property
    def _pilots(self) -> int:
        return max(1, min(PILOTS, self._held // 2))

    def _order(self, seed: int) -> Int[Tensor, " n"]:
        return torch.randperm(len(self.train_inputs), generator=Stream(seed, 0, Purpose.REFERENCE).generator())

    def _chosen(self, rows: Int[Tensor, " n"]) -> Reference:
        return Reference(self.train_inputs[rows], self.train_labels[rows])
