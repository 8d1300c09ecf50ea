"""What JPEG does to an image: the cosine coefficients of its blocks are rounded to multiples of a step that grows."""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import fft
from torch import Tensor

from rddrs.threats.change import Change, column

BLOCK = 8
PIECES = 16
"""Parts of a cell: in each of them fewer coefficients jump, and not those of the others."""

ROUNDING = 1e-12
"""A quotient this near to a half, relatively, may be rounded to either side, and so may that of a coefficient that is
wrong by as much of the input's largest."""


@dataclass(frozen=True)
class Coefficients:
    """Of blocks: their signs and sizes, how wrong these may be, and q of each."""

    signs: Float[Tensor, "m c h w"]
    sizes: Float[Tensor, "m c h w"]
    wrong: Float[Tensor, "m c h w"]
    steps: Float[Tensor, "h w"]

    @classmethod
    def of(cls, x: Float[Tensor, "m c h w"]) -> "Coefficients":
        c = transformed(x)
        sizes = c.abs()
        wrong = torch.where(sizes > 0, ROUNDING * (sizes + column(sizes.flatten(1).amax(dim=1), c)), 0)
        return cls(c.sign(), sizes, wrong, _steps(c))

    def between(
        self, low: Float[Tensor, " n"], high: Float[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n c h w"], Float[Tensor, "n c h w"], Bool[Tensor, "n c h w"]]:
        """The least and the most that the size of each coefficient is in the cell, and where n stays in it."""
        sizes, wrong = self.sizes, self.wrong
        first, last = (column(severities, sizes) * self.steps for severities in (low, high))
        # At the severity 0 the numbers n are infinite, but for a coefficient of 0.
        fewest = ((sizes - wrong).clamp_min(0) / last - ROUNDING).round().nan_to_num(0, posinf=torch.inf)
        largest = ((sizes + wrong) / first + ROUNDING).round().nan_to_num(0, posinf=torch.inf)
        same = (fewest == largest) & largest.isfinite()
        least, most = (fewest * first).nan_to_num(0), (largest * last).nan_to_num(torch.inf, posinf=torch.inf)
        least = torch.where(same, least, torch.maximum(least, sizes - last / 2))
        return least, torch.where(same, most, torch.minimum(most, sizes + last / 2)), same


class Blocks(Change):
    """Rounds the cosine coefficients c of 8 x 8 blocks to multiples n q s of q s, q = (1 + i + j) / 8.

    i, j are the frequencies: the steps grow with them as those of JPEG do. Blocks at the lower and right edge may be
    smaller. At 0 nothing is rounded.
    """

    in_balls = True

    def points(self, x: Float[Tensor, "m *shape"], severities: Float[Tensor, " n"]) -> Float[Tensor, "n *shape"]:
        c, steps = transformed(x), column(severities, x) * _steps(x)
        return transformed(torch.where(steps > 0, (c / steps).round() * steps, c), back=True)

    def variations(
        self, x: Float[Tensor, "m *shape"], low: Float[Tensor, " n"], high: Float[Tensor, " n"]
    ) -> Float[Tensor, "n *shape"]:
        middle = transformed(self.points(x, (low + high) / 2))
        shares = torch.linspace(0, 1, PIECES + 1, dtype=low.dtype, device=low.device)[:, None]
        edges, c = torch.lerp(low, high, shares), Coefficients.of(x)
        found = torch.zeros(1, dtype=x.dtype, device=x.device)
        for first, last in pairwise(edges):
            least, most, same = c.between(first, last)
            half = (most - least) / 2
            away = transformed(c.signs * (least + most) / 2 - middle, back=True).abs()
            away += transformed(torch.where(same, c.signs * half, 0), back=True).abs()  # these move together
            found = torch.maximum(found, away + transformed(torch.where(same, 0, half), back=True, sizes=True))
        return found

    def balls(
        self, x: Float[Tensor, "m *shape"], low: Float[Tensor, " n"], high: Float[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n *shape"], Float[Tensor, " n"]]:
        return self.around(Coefficients.of(x), low, high)

    @staticmethod
    def around(
        c: Coefficients, low: Float[Tensor, " n"], high: Float[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n *shape"], Float[Tensor, " n"]]:
        """The `balls`, about the middle of the coefficients' ranges: the transform is orthonormal."""
        least, most, _ = c.between(low, high)
        return transformed(c.signs * (least + most) / 2, back=True), (most - least).flatten(1).norm(dim=1) / 2


def transformed(x: Float[Tensor, "n c h w"], back: bool = False, sizes: bool = False) -> Float[Tensor, "n c h w"]:
    """The cosine coefficients of the blocks, or the way back from them; with `sizes`, as if no cosine were negative."""
    for _ in range(2):  # the columns of every row, then the rows of every column
        parts, whole = [], x.shape[-1] - x.shape[-1] % BLOCK
        for part, length in ((x[..., :whole], BLOCK), (x[..., whole:], x.shape[-1] - whole)):
            if part.numel():
                cosines = _cosines(length).to(x.device)
                cosines = cosines.abs() if sizes else cosines
                parts.append((part.unflatten(-1, (-1, length)) @ (cosines if back else cosines.mT)).flatten(-2))
        x = torch.cat(parts, dim=-1).mT
    return x


def _steps(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "h w"]:
    """q of every coefficient."""
    row, column = (torch.arange(size, dtype=x.dtype, device=x.device) % BLOCK for size in x.shape[-2:])
    return (1 + row[:, None] + column) / BLOCK


@cache
def _cosines(length: int) -> Float[Tensor, "n n"]:
    """The orthonormal cosine transform, type II, a coefficient a row."""
    return torch.from_numpy(np.asarray(fft.dct(np.eye(length), axis=0, norm="ortho")))
