"""What a perturbation does: T_s(x) of many severities at a time, and how much it varies between them."""

from abc import ABC, abstractmethod

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


class Change(ABC):
    """T_s of inputs [n, *shape], or of one, [1, *shape], a severity each: float64, unclamped, T_0(x) = x.

    A new perturbation is a subclass: the pair of `points` and `variations`, side by side. `change(x, s)` is T_s(x) of
    one array.
    """

    @abstractmethod
    def points(self, x: Float[Tensor, "m *shape"], severities: Float[Tensor, " n"]) -> Float[Tensor, "n *shape"]:
        """T_s(x) for every severity s."""

    @abstractmethod
    def variations(
        self, x: Float[Tensor, "m *shape"], low: Float[Tensor, " n"], high: Float[Tensor, " n"]
    ) -> Float[Tensor, "n *shape"]:
        """At least |T_t(x) - T_m(x)|, entry by entry, for all t in [low, high], m their mean (METHOD section 13)."""

    def cells(
        self, x: Float[Tensor, "m *shape"], low: Float[Tensor, " n"], high: Float[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n *shape"], Float[Tensor, "n *shape"]]:
        """T_m(x) and the variations of every cell."""
        return self.points(x, (low + high) / 2), self.variations(x, low, high)

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


class Mean(Change):
    """Every entry of T_s(x) is a sum of those of x with weights >= 0: a bound is carried as x is."""

    def carried(
        self,
        bounds: Float[Tensor, "n *shape"],
        x: Float[Tensor, "m *shape"],
        low: Float[Tensor, " n"],
        high: Float[Tensor, " n"],
    ) -> Float[Tensor, "n *shape"]:
        middle, variation = self.cells(bounds, low, high)
        return middle + variation


def column(severities: Float[Tensor, " n"], x: Float[Tensor, "m *shape"]) -> Tensor:
    """Severities that broadcast with inputs, a row each."""
    return severities.view(-1, *[1] * (x.ndim - 1))
