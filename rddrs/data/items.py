"""Any map-style data sets, as those of torchvision and Hugging Face are."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from rddrs.data.dataset import Dataset
from rddrs.data.inputs import BrokenInput, Items, as_tensor

TWICE = 32
"""Items that are read twice, to see whether a random transform was left on."""


def items(train: Any, test: Any, classes: int | None = None) -> Dataset:
    """Two data sets with a length, whose items are pairs (input, label) or mappings with two keys in this order.

    Inputs are Pillow images, arrays or tensors; images, 8- and 16-bit numbers become [0, 1]. Labels are taken from an
    attribute `targets` or a column of that key where there is one that agrees with the items, else from every item.
    Raises ValueError where the items are no pairs of an input and a class number, one cannot be read, or an item is
    another at each reading.

    A run's key holds the content: every item is read once for it (and kept, where it has 8 or 16 bits), which for
    50,000 images that have to be decoded takes as long as an epoch's reading.
    """
    parts = [_Part(train, "train"), _Part(test, "test")]
    transparent = [f"data.{it.name}: images have transparency: they are laid on white" for it in parts if it.on_white]
    return Dataset(*parts[0].read(), *parts[1].read(), classes=classes, notes=transparent)


class _Part:
    """One of the two data sets; what is read of it is checked each time."""

    def __init__(self, given: Any, name: str) -> None:
        if not (hasattr(given, "__len__") and hasattr(given, "__getitem__")):
            raise ValueError(f"data.{name}: {type(given).__name__} has no length or no items [i]: it must be map-style")
        self.given, self.name = given, name
        if len(given) == 0:
            raise ValueError(f"data.{name}: there are no items")
        first = self.whole(0)
        self.x, self.y = list(first) if isinstance(first, Mapping) else (0, 1)
        self.on_white = isinstance(x := first[self.x], Image.Image) and x.has_transparency_data
        self.refuse_random()

    def whole(self, row: int) -> Any:
        """An item of two parts."""
        try:
            item = self.given[row]
        except Exception as error:
            told = f"data: {self.name} item {row} cannot be read: {type(error).__name__}: {error}"
            raise BrokenInput(told) from error
        if not (isinstance(item, Mapping | tuple | list) and len(item) == 2):
            if isinstance(item, Mapping):
                found = f"has the keys {', '.join(map(str, item))}"
            else:
                found = f"has {len(item)} parts" if isinstance(item, tuple | list) else f"is {type(item).__name__}"
            raise BrokenInput(f"data.{self.name}: item {row} {found}: pairs (input, label) are needed")
        return item

    def label(self, row: int) -> int:
        return class_number(self.whole(row)[self.y], self.name, row)

    def refuse_random(self) -> None:
        count = len(self.given)
        for row in sorted({position * count // TWICE for position in range(TWICE)}):
            (one, first), (other, second) = self.numbers(row), self.numbers(row)
            if first != second or not torch.equal(one.float().nan_to_num(), other.float().nan_to_num()):
                raise ValueError(
                    f"data.{self.name}: item {row} is another at each reading: leave its random transforms out "
                    "(data.flip mirrors images in training)"
                )

    def numbers(self, row: int) -> tuple[Tensor, int]:
        item = self.whole(row)
        label = class_number(item[self.y], self.name, row)
        try:
            return as_tensor(item[self.x]), label
        except Exception as error:
            raise BrokenInput(f"data.{self.name}: the input of item {row} is no image, no numbers: {error}") from error

    def read(self) -> tuple[Items, list[int]]:
        """Inputs and labels; where labels are known beforehand, every item that is read is checked against its own."""
        count, known = len(self.given), getattr(self.given, "targets", None)
        if isinstance(self.x, str) and hasattr(self.given, "column_names"):
            known = self.given[self.y]
        if known is None or len(known) != count or not self.agrees(known):
            labels = [self.label(row) for row in range(count)]
        else:
            labels = [class_number(label, self.name, row) for row, label in enumerate(known)]

        def read(row: int) -> Any:
            item = self.whole(row)
            if (found := class_number(item[self.y], self.name, row)) != labels[row]:
                raise BrokenInput(f"data.{self.name}: item {row} has the label {found}, `targets` {labels[row]}")
            return item[self.x]

        return Items(read, count, self.name), labels

    def agrees(self, known: Any) -> bool:
        """Whether the first item of every label has that label itself: a `target_transform` may have changed it."""
        first = {}
        for row, label in enumerate(known):
            first.setdefault(str(label), (row, label))
        try:
            return all(class_number(label, self.name, row) == self.label(row) for row, label in first.values())
        except BrokenInput:
            return False


def class_number(label: Any, name: str, row: int) -> int:
    """A label as a whole number; raises BrokenInput for words, one-hot rows, and an input in the label's place."""
    with suppress(Exception):  # of numbers in arrays and tensors
        label = label.item()
    if isinstance(label, int | float) and float(label).is_integer():
        return int(label)
    ways = "is the label first, or one-hot (argmax)?"
    if isinstance(label, str):
        ways = "numpy.unique(labels, return_inverse=True)[1] makes them"
    found = repr(label) if isinstance(label, str | float | None) else f"a {type(label).__name__}"
    raise BrokenInput(f"data.{name}: the label of item {row} is {found}: a class number is needed: {ways}")
