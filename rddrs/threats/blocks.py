"""What JPEG does to an image: the cosine coefficients of its blocks are rounded to multiples of a step that grows."""

from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from scipy import fft
from torch import Tensor

from rddrs.threats.change import Change, column

BLOCK = 8
ROUNDING = 1e-12
"""A quotient this near to a half, relatively, may be rounded to either side."""


class Blocks(Change):
    """Rounds the cosine coefficients c of 8 x 8 blocks to multiples n q s of q s, q = (1 + i + j) / 8.

    i, j are the frequencies: the steps grow with them as those of JPEG do. Blocks at the lower and right edge may be
    smaller. At 0 nothing is rounded.
    """

    def points(self, x: Float[Tensor, "m *shape"], severities: Float[Tensor, " n"]) -> Float[Tensor, "n *shape"]:
        c, steps = transformed(x), column(severities, x) * _steps(x)
        return transformed(torch.where(steps > 0, (c / steps).round() * steps, c), back=True)

    def variations(
        self, x: Float[Tensor, "m *shape"], low: Float[Tensor, " n"], high: Float[Tensor, " n"]
    ) -> Float[Tensor, "n *shape"]:
        moved, jumps = self._moved(transformed(x), low, high)
        return transformed(moved, back=True).abs() + transformed(jumps, back=True, sizes=True)

    def spreads(
        self, x: Float[Tensor, "m *shape"], low: Float[Tensor, " n"], high: Float[Tensor, " n"]
    ) -> Float[Tensor, " n"]:
        """As long as the coefficients: the transform is orthonormal."""
        moved, jumps = self._moved(transformed(x), low, high)
        return (moved.abs() + jumps).flatten(1).norm(dim=1)

    @staticmethod
    def _moved(
        c: Float[Tensor, "m c h w"], low: Float[Tensor, " n"], high: Float[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n c h w"], Float[Tensor, "n c h w"]]:
        """How coefficients come from the middle to the cell's ends: where n stays, all together; elsewhere, at most."""
        q, sizes = _steps(c), c.abs()
        least, middle, most = (column(severities, c) * q for severities in (low, (low + high) / 2, high))
        # At the severity 0 the numbers n are infinite, but for a coefficient of 0.
        fewest = (sizes / most * (1 - ROUNDING) - ROUNDING).round().nan_to_num(0, posinf=torch.inf)
        largest = (sizes / least * (1 + ROUNDING) + ROUNDING).round().nan_to_num(0, posinf=torch.inf)
        value = torch.where(middle > 0, (sizes / middle).round() * middle, sizes)
        lower = torch.maximum((fewest * least).nan_to_num(0), sizes - most / 2)
        upper = torch.minimum((largest * most).nan_to_num(torch.inf, posinf=torch.inf), sizes + most / 2)
        same = (fewest == largest) & largest.isfinite()
        moved = torch.where(same, c.sign() * fewest * (most - least) / 2, 0)
        return moved, torch.where(same, 0, torch.maximum(upper - value, value - lower))


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
