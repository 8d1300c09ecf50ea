"""Changes of which no entry turns back as the severity grows: the ends of a cell bound all of it, exactly."""

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rddrs.threats.change import Boxed, column


class Monotone(Boxed):
    """Every entry of T_s(x) is monotone in s."""

    monotone = True

    def boxes(
        self, x: Float[Tensor, "m *shape"], low: Float[Tensor, " n"], high: Float[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n *shape"], Float[Tensor, "n *shape"]]:
        ends = self.points(x, low), self.points(x, high)
        return torch.minimum(*ends), torch.maximum(*ends)


class Gamma(Monotone):
    """The power 1 + s of every value, its sign kept."""

    straight = True

    def points(self, x: Float[Tensor, "m *shape"], severities: Float[Tensor, " n"]) -> Float[Tensor, "n *shape"]:
        return x.sign() * x.abs() ** (1 + column(severities, x))

    def bends(self, x: Float[Tensor, "m *shape"], low: Float[Tensor, " n"], high: Float[Tensor, " n"]) -> Tensor:
        # An eighth of the square of the width times the second derivative, where that is largest.
        sizes = x.abs().clamp_min(torch.finfo(x.dtype).tiny)
        largest = torch.where(sizes < 1, sizes ** (1 + column(low, x)), sizes ** (1 + column(high, x)))
        return column((high - low) ** 2 / 8, x) * sizes.log() ** 2 * largest

    def carried(
        self,
        bounds: Float[Tensor, "n *shape"],
        x: Float[Tensor, "m *shape"],
        low: Float[Tensor, " n"],
        high: Float[Tensor, " n"],
    ) -> Float[Tensor, "n *shape"]:
        largest = x.abs() + bounds  # where the slope, (1 + t) |x|^t, is steepest
        return (1 + column(high, x)) * torch.maximum(*(largest ** column(end, x) for end in (low, high))) * bounds


class SaltAndPepper(Monotone):
    """Sets the share s of the values to the input's largest or smallest; a larger share adds to a smaller."""

    def points(self, x: Float[Tensor, "m *shape"], severities: Float[Tensor, " n"]) -> Float[Tensor, "n *shape"]:
        changed, salt = self._changed(x, severities)
        rows = x.flatten(1)
        return torch.where(changed, torch.where(salt, column(rows.amax(1), x), column(rows.amin(1), x)), x)

    def carried(
        self,
        bounds: Float[Tensor, "n *shape"],
        x: Float[Tensor, "m *shape"],
        low: Float[Tensor, " n"],
        high: Float[Tensor, " n"],
    ) -> Float[Tensor, "n *shape"]:
        return torch.where(self._changed(x, high)[0], column(bounds.flatten(1).amax(1), x), bounds)

    @staticmethod
    def _changed(x: Float[Tensor, "m *shape"], severities: Float[Tensor, " n"]) -> tuple[Bool[Tensor, "..."], ...]:
        places, salt = (it.to(x.device) for it in _dice(tuple(x.shape[1:])))
        return places < column(severities, x), salt


@cache
def _dice(shape: tuple[int, ...]) -> tuple[Float[Tensor, "*shape"], Bool[Tensor, "*shape"]]:
    """The severity beyond which each entry is changed, and whether to salt."""
    source = np.random.default_rng(0)
    return torch.from_numpy(source.random(shape)), torch.from_numpy(source.random(shape) < 0.5)


class Occlusion(Monotone):
    """Covers a centred rectangle, the share s of the height and width, with the input's mean; edges in part."""

    def points(self, x: Float[Tensor, "m *shape"], severities: Float[Tensor, " n"]) -> Float[Tensor, "n *shape"]:
        return x + self._covered(x.shape, severities) * (column(x.flatten(1).mean(dim=1), x) - x)

    def carried(
        self,
        bounds: Float[Tensor, "n *shape"],
        x: Float[Tensor, "m *shape"],
        low: Float[Tensor, " n"],
        high: Float[Tensor, " n"],
    ) -> Float[Tensor, "n *shape"]:
        least, most = (self._covered(x.shape, end) for end in (low, high))
        return (1 - least) * bounds + most * column(bounds.flatten(1).mean(dim=1), x)

    @staticmethod
    def _covered(shape: Sequence[int], severities: Float[Tensor, " n"]) -> Float[Tensor, "n 1 h w"]:
        def cover(size: int) -> Float[Tensor, "n size"]:
            edges = (torch.arange(size, device=severities.device) - (size - 1) / 2).abs() - 0.5
            reach = severities[:, None] * size / 2
            return (reach - edges).clamp(0, 1) - (-reach - edges).clamp(0, 1)

        return (cover(shape[-2])[:, :, None] * cover(shape[-1])[:, None, :])[:, None]
