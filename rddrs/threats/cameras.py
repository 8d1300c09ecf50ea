"""What cameras, lenses and light do to an image [channels, height, width] in [0, 1]: functions `(x, severity) -> x'`.

In float, unclamped, the identity at severity 0; `perturbations` names them.
"""

from functools import cache

import numpy as np
from scipy import fft, ndimage
from scipy.linalg import block_diag

Array = np.ndarray
_BLOCK = 8


def red_cast(x: Array, severity: float) -> Array:
    """Adds `severity` to the first of three channels."""
    return _cast(x, severity, (1, 0, 0))


def green_cast(x: Array, severity: float) -> Array:
    """Adds `severity` to the second of three channels."""
    return _cast(x, severity, (0, 1, 0))


def blue_cast(x: Array, severity: float) -> Array:
    """Adds `severity` to the third of three channels."""
    return _cast(x, severity, (0, 0, 1))


def warmth(x: Array, severity: float) -> Array:
    """Adds `severity` to red and subtracts it from blue."""
    return _cast(x, severity, (1, 0, -1))


def coldness(x: Array, severity: float) -> Array:
    """Subtracts `severity` from red and adds it to blue."""
    return _cast(x, severity, (-1, 0, 1))


def _cast(x: Array, severity: float, channels: tuple[int, int, int]) -> Array:
    return x + severity * np.array(channels)[:, None, None]


def horizontal_ramp(x: Array, severity: float) -> Array:
    """Light that falls off from left, -`severity`, to right, +`severity`."""
    return x + severity * np.linspace(-1, 1, x.shape[-1])


def vertical_ramp(x: Array, severity: float) -> Array:
    """Light that falls off from above, -`severity`, to below, +`severity`."""
    return x + severity * np.linspace(-1, 1, x.shape[-2])[:, None]


def vignetting(x: Array, severity: float) -> Array:
    """Darkens with the square of the distance from the centre, the corners by the share `severity`."""
    rows, columns = (np.linspace(-1, 1, size) for size in x.shape[-2:])
    return x * (1 - severity * (rows[:, None] ** 2 + columns**2) / 2)


def gamma(x: Array, severity: float) -> Array:
    """The power 1 + `severity` of every value, its sign kept."""
    return np.sign(x) * np.abs(x) ** (1 + severity)


def haze(x: Array, severity: float) -> Array:
    """Moves every value the share `severity` of its way to white, 1."""
    return x + severity * (1 - x)


def defocus(x: Array, severity: float) -> Array:
    """The mean over a disc: full up to `severity` pixels from the centre, falling to 0 within one pixel more.

    Edges of the image are repeated.
    """
    reach = int(np.ceil(severity))
    offsets = np.arange(-reach, reach + 1)
    disc = np.clip(severity + 1 - np.hypot(offsets[:, None], offsets), 0, 1)
    return ndimage.convolve(x, (disc / disc.sum())[None], mode="nearest")


def motion_blur(x: Array, severity: float) -> Array:
    """The mean of the image on a horizontal path of `severity` pixels, linear interpolation; edges are repeated."""
    if severity == 0:
        return x.copy()
    reach = int(np.ceil(severity / 2))
    ends = np.clip(np.arange(-reach, reach + 1) + np.array([[0.5], [-0.5]]) * severity, -1, 1)
    after, before = ends * (1 - np.abs(ends) / 2)
    return ndimage.convolve1d(x, (after - before) / severity, axis=-1, mode="nearest")


def jpeg_blocks(x: Array, severity: float) -> Array:
    """Rounds the cosine coefficients of 8 x 8 blocks to multiples of `severity` (1 + i + j) / 8, i, j the frequencies.

    The steps grow with the frequency as those of JPEG do; blocks at the lower and right edge may be smaller.
    """
    if severity == 0:
        return x.copy()
    (rows, row), (columns, column) = (_block_cosines(size) for size in x.shape[-2:])
    steps = severity * (1 + row[:, None] + column) / _BLOCK
    return rows.T @ (np.rint(rows @ x @ columns.T / steps) * steps) @ columns


@cache
def _block_cosines(size: int) -> tuple[Array, Array]:
    """The orthonormal cosine transform of an axis in blocks, [size, size], and the frequency of each coefficient."""
    lengths = [min(_BLOCK, size - start) for start in range(0, size, _BLOCK)]
    blocks = [np.asarray(fft.dct(np.eye(length), axis=0, norm="ortho")) for length in lengths]
    return np.asarray(block_diag(*blocks)), np.concatenate([np.arange(length) for length in lengths])
