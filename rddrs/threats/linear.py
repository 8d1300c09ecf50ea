"""Changes that are linear in the severity, T_s(x) = x + s v(x): their variation over a cell is known exactly."""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rddrs.threats.change import Change, column


class Linear(Change):
    """x + s v(x)."""

    monotone = straight = True

    @abstractmethod
    def direction(self, x: Float[Tensor, "m *shape"]) -> Tensor:
        """v(x), in a shape that broadcasts with x."""

    def points(self, x: Float[Tensor, "m *shape"], severities: Float[Tensor, " n"]) -> Float[Tensor, "n *shape"]:
        return x + column(severities, x) * self.direction(x)

    def variations(
        self, x: Float[Tensor, "m *shape"], low: Float[Tensor, " n"], high: Float[Tensor, " n"]
    ) -> Float[Tensor, "n *shape"]:
        found = column((high - low) / 2, x) * self.direction(x).abs()
        return found.expand(len(found), *x.shape[1:])

    def boxes(
        self, x: Float[Tensor, "m *shape"], low: Float[Tensor, " n"], high: Float[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n *shape"], Float[Tensor, "n *shape"]]:
        ends = self.points(x, low), self.points(x, high)
        return torch.minimum(*ends), torch.maximum(*ends)

    def bends(self, x: Float[Tensor, "m *shape"], low: Float[Tensor, " n"], high: Float[Tensor, " n"]) -> Tensor:
        return x.new_zeros(len(low), *[1] * (x.ndim - 1)).expand(-1, *x.shape[1:])


def constant(shape: Sequence[int]) -> Tensor:
    """1 everywhere."""
    return torch.ones([1] * len(shape))


@dataclass(frozen=True)
class Added(Linear):
    """Adds s times a pattern; `pattern(shape)` gives it for inputs of this shape, or one that broadcasts with them."""

    pattern: Callable[[Sequence[int]], Tensor]

    def direction(self, x: Float[Tensor, "m *shape"]) -> Tensor:
        return self.pattern(x.shape[1:]).to(x)[None]

    def carried(
        self,
        bounds: Float[Tensor, "n *shape"],
        x: Float[Tensor, "m *shape"],
        low: Float[Tensor, " n"],
        high: Float[Tensor, " n"],
    ) -> Float[Tensor, "n *shape"]:
        return bounds


@dataclass(frozen=True)
class Faded(Linear):
    """Moves every value the share s of its way, times a weight in [0, 1] of its place, to its target.

    The target is the input's mean, or a constant. `weight(shape)` broadcasts with inputs of the shape.
    """

    target: float | None = None
    weight: Callable[[Sequence[int]], Tensor] = constant

    def direction(self, x: Float[Tensor, "m *shape"]) -> Tensor:
        target = column(x.flatten(1).mean(dim=1), x) if self.target is None else self.target
        return self.weight(x.shape[1:]).to(x) * (target - x)

    def carried(
        self,
        bounds: Float[Tensor, "n *shape"],
        x: Float[Tensor, "m *shape"],
        low: Float[Tensor, " n"],
        high: Float[Tensor, " n"],
    ) -> Float[Tensor, "n *shape"]:
        ends = [column(severities, x) * self.weight(x.shape[1:]).to(x) for severities in (low, high)]
        found = torch.maximum(*((1 - share).abs() for share in ends)) * bounds
        if self.target is None:
            found = found + torch.maximum(*(share.abs() for share in ends)) * column(bounds.flatten(1).mean(dim=1), x)
        return found


@dataclass(frozen=True)
class Colour:
    """One number a channel."""

    channels: tuple[int, ...]

    def __call__(self, shape: Sequence[int]) -> Tensor:
        return torch.tensor(self.channels)[:, None, None]


@dataclass(frozen=True, eq=False)
class Pattern:
    """One number an entry."""

    values: np.ndarray

    def __call__(self, shape: Sequence[int]) -> Tensor:
        if self.values.size != math.prod(shape):
            raise ValueError(f"the pattern has the shape {self.values.shape}, the input {tuple(shape)}")
        return torch.from_numpy(self.values).reshape(tuple(shape))


def white_noise(shape: Sequence[int]) -> Tensor:
    """Standard normal numbers, always the same."""
    return torch.from_numpy(np.random.default_rng(0).standard_normal(tuple(shape)))


def chessboard(shape: Sequence[int]) -> Tensor:
    """1 and -1 by turns in both directions."""
    rows, columns = (torch.arange(size) for size in shape[-2:])
    return 1 - 2 * ((rows[:, None] + columns) % 2)


def second_rows(shape: Sequence[int]) -> Tensor:
    """1 and -1 by turns from row to row."""
    return (1 - 2 * (torch.arange(shape[-2]) % 2))[:, None]


def left_to_right(shape: Sequence[int]) -> Tensor:
    """-1 at the left, 1 at the right."""
    return torch.linspace(-1, 1, shape[-1], dtype=torch.float64)


def top_to_bottom(shape: Sequence[int]) -> Tensor:
    """-1 above, 1 below."""
    return torch.linspace(-1, 1, shape[-2], dtype=torch.float64)[:, None]


def far_from_the_centre(shape: Sequence[int]) -> Tensor:
    """The square of the distance from the centre, 1 in the corners."""
    return (top_to_bottom(shape) ** 2 + left_to_right(shape) ** 2) / 2
