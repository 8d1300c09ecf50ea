"""Inputs that are stored compactly, or not at all, until a batch of them is asked for."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8, UInt16
from PIL import Image
from torch import Tensor

from rddrs.data.pixels import DEEP, depth, pixels
from rddrs.digests import digest

Rows = slice | Tensor | Sequence[int]
BUFFER = 1 << 29
"""Bytes of one part of a data set, decoded, that are kept in memory at most."""
PART = 1024
"""Inputs that are checked at a time."""
WHOLE = {torch.uint8: 255, torch.uint16: 65535}
"""Whole numbers that are kept as they are, with the largest: a batch of them is in [0, 1], on a grid."""


class BrokenInput(ValueError):
    """An input that is found to be broken when it is asked for; the message names it."""


class Inputs(ABC):
    """The inputs of one part of a data set: `inputs[3]` is one of them, `inputs[rows]` a batch, float32.

    `shape` is [n, *shape], as a tensor's; `grid` the step of the grid that all entries lie on, where there is one.
    """

    shape: tuple[int, ...]
    grid: float | None = None
    lazy: bool = False
    """Whether a batch has to be read and decoded each time: what is worth worker processes."""
    binary: bool = False
    """Whether there are two values by the kind of what is stored, as in 1-bit images."""

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: int | Rows) -> Float[Tensor, "*n_shape"]:
        if isinstance(rows, int):
            return self.batch([range(len(self))[rows]])[0]
        return self.batch(range(len(self))[rows] if isinstance(rows, slice) else torch.as_tensor(rows).tolist())

    @abstractmethod
    def batch(self, rows: Sequence[int]) -> Float[Tensor, "n *shape"]:
        """The inputs of these rows."""

    @property
    @abstractmethod
    def digest(self) -> str:
        """What tells the content from any other."""


class Stored(Inputs):
    """Inputs in memory: float32, or 8- or 16-bit numbers, kept as they are: a batch is then in [0, 1], on a grid."""

    def __init__(
        self, values: Float32[Tensor, "n *shape"] | UInt8[Tensor, "n *shape"] | UInt16[Tensor, "n *shape"]
    ) -> None:
        self.values, self.shape = values, tuple(values.shape)
        self.grid = grid_of(values.dtype)

    def batch(self, rows: Sequence[int]) -> Float[Tensor, "n *shape"]:
        return scaled(self.values[rows.start : rows.stop : rows.step] if isinstance(rows, range) else self.values[rows])

    @property
    def digest(self) -> str:
        return digest("stored", {"values": self.values})


class Items(Inputs):
    """Inputs that `read(i)` gives one by one: Pillow images, arrays or tensors; 8 and 16 bits become [0, 1].

    What is decoded to such numbers is kept in memory where all of them take at most `BUFFER`. `content` are the bytes
    that the digest is of, the decoded items where it is None. Raises BrokenInput where an item cannot be read, has
    another shape or kind than the first, or holds NaN.
    """

    def __init__(
        self, read: Callable[[int], Any], count: int, name: str, content: Callable[[], Iterable[bytes]] | None = None
    ) -> None:
        self._read, self._name, self._content = read, name, content
        first = self._decoded(0)
        self.shape, self._dtype = (count, *first.shape), first.dtype
        self.grid = grid_of(first.dtype)
        self.lazy = self.grid is None or count * first.nbytes > BUFFER
        self._known = torch.zeros(count, dtype=torch.bool)
        self._buffer = None if self.lazy else torch.empty(self.shape, dtype=self._dtype)

    def item(self, row: int) -> Tensor:
        """One input as it was decoded: bytes, or float32."""
        if self._buffer is not None and self._known[row]:
            return self._buffer[row]
        found = self._decoded(row)
        if (found.dtype, found.shape) != (self._dtype, self.shape[1:]):
            kinds = [f"{dtype} of shape {tuple(shape)}" for dtype, shape in ((found.dtype, found.shape), self.kind)]
            raise BrokenInput(f"data: {self._name} input {row} is {kinds[0]}, the first one {kinds[1]}")
        if found.dtype not in WHOLE and not found.isfinite().all():
            raise BrokenInput(f"data: {self._name} input {row} holds NaN or infinite entries")
        if self._buffer is not None:
            self._buffer[row], self._known[row] = found, True
        return found

    def _decoded(self, row: int) -> Tensor:
        try:
            return as_tensor(self._read(row))
        except BrokenInput:
            raise
        except Exception as error:
            told = f"data: {self._name} input {row} cannot be read: {type(error).__name__}: {error}"
            raise BrokenInput(told) from error

    @property
    def kind(self) -> tuple[torch.dtype, tuple[int, ...]]:
        """The precision and the shape of every input."""
        return self._dtype, self.shape[1:]

    def batch(self, rows: Sequence[int]) -> Float[Tensor, "n *shape"]:
        if self._buffer is None:
            return scaled(torch.stack([self.item(row) for row in rows]))
        chosen = torch.as_tensor(rows)
        for row in chosen[~self._known[chosen]].tolist():
            self.item(row)
        return scaled(self._buffer[chosen])

    @property
    def digest(self) -> str:
        found = hashlib.sha256()
        content = self._content() if self._content else (self.item(row).numpy().tobytes() for row in range(len(self)))
        for part in content:
            found.update(part)
        return found.hexdigest()


class Selected(Inputs):
    """Some rows of other inputs, in the order given."""

    def __init__(self, inputs: Inputs, rows: Sequence[int]) -> None:
        self._inputs, self._rows = inputs, rows
        self.shape, self.grid, self.lazy = (len(rows), *inputs.shape[1:]), inputs.grid, inputs.lazy

    def batch(self, rows: Sequence[int]) -> Float[Tensor, "n *shape"]:
        return self._inputs.batch([self._rows[row] for row in rows])

    @property
    def digest(self) -> str:
        return digest(f"rows of {self._inputs.digest}", {"rows": torch.tensor(self._rows)})


def grid_of(kind: torch.dtype) -> float | None:
    """The step of the grid that stored numbers of this kind lie on."""
    return 1 / WHOLE[kind] if kind in WHOLE else None


def scaled(values: Tensor) -> Tensor:
    """8- and 16-bit numbers in [0, 1]; others as they are."""
    return values.float() / WHOLE[values.dtype] if values.dtype in WHOLE else values


def native(given: Any) -> Any:
    """Arrays in this machine's order of bytes, and of a precision that torch knows."""
    if isinstance(given, np.ndarray) and given.dtype.kind in "biufc":
        precise = {np.dtype(np.longdouble): np.float64}.get(given.dtype, given.dtype.newbyteorder("="))
        return given.astype(precise, copy=False)
    return given


def as_tensor(item: Any) -> Tensor:
    """An image, channels first, an array or a tensor as 8- or 16-bit numbers or float32."""
    if isinstance(item, Image.Image):
        return pixels(item, grey=item.mode in ("L", "I", "F", *DEEP), bits=depth(item))
    found = torch.as_tensor(native(item))
    return found if found.dtype in WHOLE else found.float()


def as_inputs(given: Any, name: str) -> Inputs:
    """Tensors, arrays and lists of numbers as float32, or as the 8- or 16-bit numbers they are.

    8-bit numbers that are all 0 or 1 are those numbers. Raises ValueError for NaN, and for what is no number.
    """
    if isinstance(given, Inputs):
        return given
    try:
        found = torch.as_tensor(native(given))
    except (TypeError, ValueError, RuntimeError) as error:
        kind = given.dtype if isinstance(given, np.ndarray) else type(given).__name__
        raise ValueError(f"data: the {name} inputs are no numbers: they are {kind}") from error
    if found.ndim < 2:
        raise ValueError(f"data: the {name} inputs have shape {tuple(found.shape)}: [n, *shape] is needed")
    if found.dtype in WHOLE:
        return Stored(found)
    if found.is_complex():
        raise ValueError(f"data: the {name} inputs are complex: real numbers are needed: torch.view_as_real(x)")
    binary, found = found.dtype is torch.bool, found.float()
    for start, part in enumerate(found.flatten(1).split(PART)):  # a mask of all would be a quarter of their memory
        bad = torch.nonzero(~torch.isfinite(part).all(dim=1)).flatten()
        if len(bad):
            raise ValueError(f"data: {name} input {start * PART + bad[0].item()} holds NaN or infinite entries")
    stored = Stored(found)
    stored.binary = binary
    return stored


def as_labels(given: Any, name: str) -> Tensor:
    """Class numbers as a tensor of integers; raises ValueError for anything else."""
    try:
        found = torch.as_tensor(native(given))
    except (TypeError, ValueError, RuntimeError) as error:
        first = [str(label) for label in np.ravel(np.asarray(given, dtype=object))[:1]]
        told, ways = f"they begin with {first}", "numpy.unique(y, return_inverse=True)[1] makes them"
        raise ValueError(f"data: the {name} labels are no class numbers 0 .. classes - 1 ({told}): {ways}") from error
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim != 1:
        shape = tuple(found.shape)
        raise ValueError(f"data: the {name} labels have shape {shape}: one class number an input is needed: argmax?")
    whole = found.long()
    if not torch.equal(whole.to(found.dtype), found):
        first = found[whole.to(found.dtype) != found][0]
        raise ValueError(
            f"data: the {name} labels are no whole numbers (there is {first:g}): 0 .. classes - 1 are needed"
        )
    return whole
