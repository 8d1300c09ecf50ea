"""What a perturbation does: T_s(x) of many severities at a time, and how much it varies between them."""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


class Change(ABC):
    """T_s of inputs [n, *shape], or of one, [1, *shape], a severity each: float64, unclamped, T_0(x) = x.

    A new perturbation is a subclass: the pair of `points` and `variations`, side by side, and `boxes` where an entry
    does not vary as much to either side. `change(x, s)` is T_s(x) of one array.
    """

    monotone: ClassVar[bool] = False
    """Whether every entry of T_s(x) is monotone in s."""

    starts_straight: ClassVar[bool] = False
    """Whether T_s(x) is on the straight line from x to T_1(x) for s in [0, 1], and to T_-1(x) for s in [-1, 0]."""

    straight: ClassVar[bool] = False
    """Whether `bends` are known."""

    in_balls: ClassVar[bool] = False
    """Whether `balls` are known, which say more than `boxes`."""

    @abstractmethod
    def points(self, x: Float[Tensor, "m *shape"], severities: Float[Tensor, " n"]) -> Float[Tensor, "n *shape"]:
        """T_s(x) for every severity s."""

    @abstractmethod
    def variations(
        self, x: Float[Tensor, "m *shape"], low: Float[Tensor, " n"], high: Float[Tensor, " n"]
    ) -> Float[Tensor, "n *shape"]:
        """At least |T_t(x) - T_m(x)|, entry by entry, for all t in [low, high], m their mean (METHOD section 13)."""

    def boxes(
        self, x: Float[Tensor, "m *shape"], low: Float[Tensor, " n"], high: Float[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n *shape"], Float[Tensor, "n *shape"]]:
        """The least and the most that each entry of T_t(x) can be for t in [low, high]."""
        middle, variation = self.points(x, (low + high) / 2), self.variations(x, low, high)
        return middle - variation, middle + variation

    def balls(
        self, x: Float[Tensor, "m *shape"], low: Float[Tensor, " n"], high: Float[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n *shape"], Float[Tensor, " n"]]:
        """The centre and the radius of a ball of l2 that holds T_t(x) for all t in [low, high]."""
        raise NotImplementedError

    def bends(self, x: Float[Tensor, "m *shape"], low: Float[Tensor, " n"], high: Float[Tensor, " n"]) -> Tensor:
        """At least what T_t(x) can be away from its place on the chord from T_low(x) to T_high(x), for t between."""
        raise NotImplementedError

    def carried(
        self,
        bounds: Float[Tensor, "n *shape"],
        x: Float[Tensor, "m *shape"],
        low: Float[Tensor, " n"],
        high: Float[Tensor, " n"],
    ) -> Float[Tensor, "n *shape"]:
        """At least |T_t(x') - T_t(x)| for all t in [low, high] and all x' with |x' - x| <= bounds, entry by entry.

        What makes T an outer perturbation, T_t o S_s. Raises NotImplementedError where nothing is known.
        """
        raise NotImplementedError

    def __call__(self, x: np.ndarray, severity: float) -> np.ndarray:
        rows = torch.from_numpy(np.array(x, dtype=np.float64))[None]
        return self.points(rows, torch.tensor([severity], dtype=torch.float64))[0].numpy()


class Boxed(Change):
    """Of which the boxes are known, and the variations follow from them."""

    @abstractmethod
    def boxes(
        self, x: Float[Tensor, "m *shape"], low: Float[Tensor, " n"], high: Float[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n *shape"], Float[Tensor, "n *shape"]]: ...

    def variations(
        self, x: Float[Tensor, "m *shape"], low: Float[Tensor, " n"], high: Float[Tensor, " n"]
    ) -> Float[Tensor, "n *shape"]:
        middle, (least, most) = self.points(x, (low + high) / 2), self.boxes(x, low, high)
        return torch.maximum(most - middle, middle - least)


class Mean(Change):
    """Every entry of T_s(x) is a sum of those of x with weights >= 0: a bound is carried as x is."""

    def carried(
        self,
        bounds: Float[Tensor, "n *shape"],
        x: Float[Tensor, "m *shape"],
        low: Float[Tensor, " n"],
        high: Float[Tensor, " n"],
    ) -> Float[Tensor, "n *shape"]:
        return self.boxes(bounds, low, high)[1]


def column(severities: Float[Tensor, " n"], x: Float[Tensor, "m *shape"]) -> Tensor:
    """Severities that broadcast with inputs, a row each."""
    return severities.view(-1, *[1] * (x.ndim - 1))


def stored(
    points: Float[Tensor, "n *shape"], clamp: tuple[float, float] | None = None, rounding: float | None = None
) -> Float[Tensor, "n *shape"]:
    """Images as a camera or a file holds them: brought to a range of values, then to multiples of a step."""
    points = points if clamp is None else points.clamp(*clamp)
    return points if rounding is None else (points / rounding).round_().mul_(rounding)


def check_range(clamp: tuple[float, float] | None, rounding: float | None) -> None:
    """Raises ValueError where they are no range of values and no step, as `stored` needs them."""
    if clamp is not None and not (np.shape(clamp) == (2,) and -np.inf < clamp[0] < clamp[1] < np.inf):
        raise ValueError(f"clamp={clamp}: a lower and a larger value are needed, (0, 1), or None")
    if rounding is not None and not 0 < rounding < np.inf:
        raise ValueError(f"rounding={rounding}: a positive step is needed, 1/255, or None")
