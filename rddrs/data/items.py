"""Any map-style data sets, as those of torchvision and Hugging Face are."""

from collections.abc import Mapping
from typing import Any

from rddrs.data.dataset import Dataset
from rddrs.data.inputs import BrokenInput, Items


def items(train: Any, test: Any, classes: int | None = None) -> Dataset:
    """Two data sets with a length, whose items are pairs (input, label) or mappings with two keys in this order.

    Inputs are Pillow images, arrays or tensors; bytes and images become [0, 1]. Labels are taken from an attribute
    `targets` or a column of that key where there is one that agrees, else from every item. Raises ValueError where the
    items are no pairs, or one cannot be read.

    A run's key holds the content: every item is read once for it (and kept, where it is bytes), which for 50,000 images
    that have to be decoded takes as long as an epoch's reading.
    """
    return Dataset(*_part(train, "train"), *_part(test, "test"), classes=classes)


def _part(given: Any, name: str) -> tuple[Items, Any]:
    first = _item(given, 0, name)
    if len(first) != 2:
        raise ValueError(f"data.{name}: an item has {len(first)} parts: pairs (input, label) are needed")
    x, y = first if isinstance(first, Mapping) else (0, 1)
    known = getattr(given, "targets", None)
    if isinstance(first, Mapping) and hasattr(given, "column_names"):
        known = given[y]
    agrees = known is not None and len(known) == len(given) and int(known[0]) == int(first[y])
    labels = known if agrees else [int(_item(given, row, name)[y]) for row in range(len(given))]
    return Items(lambda row: given[row][x], len(given), name), labels


def _item(given: Any, row: int, name: str) -> Any:
    try:
        return given[row]
    except Exception as error:
        raise BrokenInput(f"data: {name} item {row} cannot be read: {type(error).__name__}: {error}") from error
