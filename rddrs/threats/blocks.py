"""What JPEG does to an image: the cosine coefficients of its blocks are rounded to multiples of a step that grows."""

from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from scipy import fft
from scipy.linalg import block_diag
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
        rows, columns, q = _transform(x)
        coefficients = rows @ x @ columns.mT
        steps = column(severities, x) * q
        rounded = torch.where(steps > 0, (coefficients / steps).round() * steps, coefficients)
        return rows.mT @ rounded @ columns

    def variations(
        self, x: Float[Tensor, "m *shape"], low: Float[Tensor, " n"], high: Float[Tensor, " n"]
    ) -> Float[Tensor, "n *shape"]:
        """Interval arithmetic on n q t: exact together where no n changes, the sum of all ranges where some do."""
        rows, columns, q = _transform(x)
        sizes = (rows @ x @ columns.mT).abs()
        least, middle, most = (column(severities, x) * q for severities in (low, (low + high) / 2, high))
        fewest = (sizes / most * (1 - ROUNDING) - ROUNDING).round()
        largest = (sizes / least * (1 + ROUNDING) + ROUNDING).round()  # infinite at 0
        value = (sizes / middle).round() * middle
        lower = torch.maximum(fewest * least, sizes - most / 2)
        upper = torch.minimum(largest * most, sizes + most / 2)
        same = fewest == largest
        moved = torch.where(same, fewest * (most - least) / 2, 0) * (rows @ x @ columns.mT).sign()
        jumps = torch.where(same, 0, torch.maximum(upper - value, value - lower))
        return (rows.mT @ moved @ columns).abs() + rows.abs().mT @ jumps @ columns.abs()


def _transform(x: Float[Tensor, "m c h w"]) -> tuple[Float[Tensor, "h h"], Float[Tensor, "w w"], Float[Tensor, "h w"]]:
    """The cosine transforms of rows and columns, and q of every coefficient."""
    (rows, row), (columns, column) = ((it.to(x.device) for it in _block_cosines(size)) for size in x.shape[-2:])
    return rows, columns, (1 + row[:, None] + column) / BLOCK


@cache
def _block_cosines(size: int) -> tuple[Float[Tensor, "n n"], Float[Tensor, " n"]]:
    """The orthonormal cosine transform of an axis in blocks, and the frequency of each coefficient."""
    lengths = [min(BLOCK, size - start) for start in range(0, size, BLOCK)]
    blocks = [np.asarray(fft.dct(np.eye(length), axis=0, norm="ortho")) for length in lengths]
    frequencies = np.concatenate([np.arange(length) for length in lengths])
    return torch.from_numpy(np.asarray(block_diag(*blocks))), torch.from_numpy(frequencies).double()
