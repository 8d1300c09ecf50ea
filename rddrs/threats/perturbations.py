"""Named perturbations T_s of a severity s.

A perturbation is any function `(x, severity) -> x'` on a NumPy array of the input's own shape, with T_0(x) = x. No
function clamps its result to a range of values.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy import ndimage
from torch import Tensor

from rddrs.threats import cameras

Array = np.ndarray
Variation = Callable[[Array, float, float], Array]
"""`bound(x, low, high)`: an array of x's shape that is at least |T_t(x) - T_m(x)|, entry by entry, for every t in
[low, high], m = (low + high) / 2 (METHOD section 13)."""


@dataclass(frozen=True)
class Perturbation:
    """A named perturbation, the largest severity that is considered, and the severity's unit.

    One of `images` needs inputs of the shape [channels, height, width], with that many `channels` where they are given;
    the others take any shape. One that is `two_sided` has negative severities, too. `variation` bounds what happens
    between severities: without it severities are tested, and nothing is proven between two of them.
    """

    name: str
    function: Callable[[Array, float], Array]
    limit: float
    unit: str = ""
    images: bool = True
    channels: int | None = None
    two_sided: bool = True
    variation: Variation | None = None

    def points(self, x: Float[Tensor, "*shape"], severities: Float[Tensor, " n"]) -> Float[Tensor, "n *shape"]:
        """T_s(x) for every severity s, not clamped: float64, on the input's device. The function gets copies of x.

        Raises ValueError where the perturbation is none for x or changes its shape.
        """
        self.require(x.shape)
        rows = x.detach().cpu().double().numpy()
        points = np.stack([self.function(rows.copy(), severity) for severity in severities.tolist()])
        if points.shape[1:] != tuple(x.shape):
            raise ValueError(
                f"{self.name} must keep the input's shape {tuple(x.shape)}, not make it {points.shape[1:]}"
            )
        return torch.from_numpy(points).to(x.device)

    def variations(
        self, x: Float[Tensor, "*shape"], low: Float[Tensor, " n"], high: Float[Tensor, " n"]
    ) -> Float[Tensor, "n *shape"]:
        """The bound of every cell [low, high]: at least |T_t(x) - T_m(x)| for all t in it; float64, x's device.

        Raises ValueError where there is no bound.
        """
        if self.variation is None:
            raise ValueError(f"{self.name} has no bound of its variation: Perturbation(..., variation=bound) gives one")
        rows = x.detach().cpu().double().numpy()
        bounds = [self.variation(rows.copy(), *cell) for cell in zip(low.tolist(), high.tolist(), strict=True)]
        return torch.from_numpy(np.stack(bounds)).to(x.device)

    def applies(self, shape: tuple[int, ...]) -> bool:
        """Whether the perturbation makes sense for inputs of this shape."""
        return not self.images or (len(shape) == 3 and self.channels in (None, shape[0]))

    def require(self, shape: Sequence[int]) -> None:
        """Raises ValueError where the perturbation is none for inputs of this shape."""
        if not self.applies(tuple(shape)):
            needed = f"[{self.channels or 'channels'}, height, width]"
            raise ValueError(f"{self.name} needs images {needed}, not inputs of shape {tuple(shape)}")


def rotation(x: Array, severity: float) -> Array:
    """Turns the image by `severity` degrees about its centre, linear interpolation, zeros outside."""
    return ndimage.rotate(x, severity, axes=(-1, -2), reshape=False, order=1, mode="grid-constant")


def shift(x: Array, severity: float) -> Array:
    """Moves the image `severity` pixels to the right, linear interpolation, zeros outside."""
    return ndimage.shift(x, (0, 0, severity), order=1, mode="grid-constant")


def scale(x: Array, severity: float) -> Array:
    """Enlarges the image about its centre by the factor 1 + `severity`, linear interpolation."""
    factor = 1 / (1 + severity)
    middle = np.array([0.0, *((size - 1) / 2 * (1 - factor) for size in x.shape[-2:])])
    matrix = np.diag([1.0, factor, factor])
    return ndimage.affine_transform(x, matrix, middle, order=1, mode="grid-constant")  # pyright: ignore[reportArgumentType]


def brightness(x: Array, severity: float) -> Array:
    """Adds `severity` to every value."""
    return x + severity


def contrast(x: Array, severity: float) -> Array:
    """Moves every value the share `severity` of its way to the input's mean."""
    return x + severity * (x.mean() - x)


def blur(x: Array, severity: float) -> Array:
    """A Gaussian blur with a standard deviation of `severity` pixels."""
    return ndimage.gaussian_filter(x, (0, severity, severity))


def gaussian_noise(x: Array, severity: float) -> Array:
    """Adds white noise of the standard deviation `severity`, the same pattern at every severity."""
    return x + severity * np.random.default_rng(0).standard_normal(x.shape)


def salt_and_pepper(x: Array, severity: float) -> Array:
    """Sets the share `severity` of the values to the input's largest or smallest; a larger share adds to a smaller."""
    source = np.random.default_rng(0)
    changed, salt = source.random(x.shape) < severity, source.random(x.shape) < 0.5
    return np.where(changed, np.where(salt, x.max(), x.min()), x)


def occlusion(x: Array, severity: float) -> Array:
    """Covers a centred rectangle, `severity` of the height and width, with the image's mean; edges in part."""

    def cover(size: int) -> Array:
        edges = np.abs(np.arange(size) - (size - 1) / 2)
        return np.clip(severity * size / 2 - edges + 0.5, 0, 1)

    covered = np.outer(cover(x.shape[-2]), cover(x.shape[-1]))
    return x + covered * (x.mean() - x)


def checkerboard(x: Array, severity: float) -> Array:
    """Adds `severity` to one half of the pixels and subtracts it from the other, as on a chessboard."""
    rows, columns = np.indices(x.shape[-2:])
    return x + severity * (1 - 2 * ((rows + columns) % 2))


def stripes(x: Array, severity: float) -> Array:
    """Adds `severity` to every second row and subtracts it from the others."""
    return x + severity * (1 - 2 * (np.arange(x.shape[-2]) % 2))[:, None]


PERTURBATIONS = (
    Perturbation("rotation", rotation, 45, "degrees"),
    Perturbation("shift", shift, 8, "pixels"),
    Perturbation("scale", scale, 1, "relative"),
    Perturbation("brightness", brightness, 2, "amplitude", images=False),
    Perturbation("contrast", contrast, 1, "share", images=False),
    Perturbation("blur", blur, 5, "pixels", two_sided=False),
    Perturbation("gaussian_noise", gaussian_noise, 5, "standard deviation", images=False),
    Perturbation("salt_and_pepper", salt_and_pepper, 1, "share", images=False, two_sided=False),
    Perturbation("occlusion", occlusion, 1, "share of the side", two_sided=False),
    Perturbation("checkerboard", checkerboard, 10, "amplitude"),
    Perturbation("stripes", stripes, 10, "amplitude"),
    Perturbation("red_cast", cameras.red_cast, 2, "amplitude", channels=3),
    Perturbation("green_cast", cameras.green_cast, 2, "amplitude", channels=3),
    Perturbation("blue_cast", cameras.blue_cast, 2, "amplitude", channels=3),
    Perturbation("warmth", cameras.warmth, 2, "amplitude", channels=3),
    Perturbation("coldness", cameras.coldness, 2, "amplitude", channels=3),
    Perturbation("horizontal_ramp", cameras.horizontal_ramp, 4, "amplitude"),
    Perturbation("vertical_ramp", cameras.vertical_ramp, 4, "amplitude"),
    Perturbation("vignetting", cameras.vignetting, 2, "share"),
    Perturbation("gamma", cameras.gamma, 5, "exponent - 1", two_sided=False),
    Perturbation("haze", cameras.haze, 1, "share"),
    Perturbation("defocus", cameras.defocus, 5, "pixels", two_sided=False),
    Perturbation("motion_blur", cameras.motion_blur, 10, "pixels", two_sided=False),
    Perturbation("jpeg_blocks", cameras.jpeg_blocks, 5, "amplitude", two_sided=False),
)
"""The perturbations that reports show."""
