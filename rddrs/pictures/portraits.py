"""One picture of an input and of its scale, small enough to draw one for every input of a run."""

import math

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib import colormaps
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from rddrs.noise import Scale
from rddrs.pictures.images import brightness, covariance_map, noise_limits, noise_map, picture, principal_axes

_SIDE, _CAPTION, _COLUMNS, _AXES = 160, 18, 3, 3
_BAR = 34


def portrait(x: Float[Tensor, "*shape"], scale: Scale) -> Image.Image:
    """The input, the noise in every coordinate, the covariance C C and the region's longest axes, captioned.

    An input that is no image has its covariance alone, or its noise where it is large; a large image no covariance.
    The colours of the noise are those of the bar, the same in all portraits of inputs of one range (`noise_limits`).
    """
    noise, tiles, image = noise_map(scale), [], picture(brightness(x))
    least, most = noise_limits(x)
    if (found := covariance_map(scale)) is not None:
        covariance, limit = found
        tiles = [(f"covariance, to {limit:.3g}", _coloured("RdBu_r", covariance, -limit, limit))]
    elif image is None:
        tiles = [(f"noise, to {noise.max():.3g}", _shaded(noise[None], least, most))]
    if image is not None:
        shown = np.rint(255 * image).astype(np.uint8) if image.ndim == 3 else _coloured("gray", image, 0, 1)
        tiles = [
            ("input", shown),
            (f"noise, to {noise.max():.3g}", _shaded(_plane(noise, x), least, most)),
            *tiles,
            *(
                (f"axis {rank}: {value:.3g}", _coloured("RdBu_r", _plane(axis, x), -abs(axis).max(), abs(axis).max()))
                for rank, value, axis in principal_axes(scale, _AXES)
            ),
        ]
    columns = min(_COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    width, height = columns * (_SIDE + 6), rows * (_SIDE + _CAPTION + 6)
    barred = any(caption.startswith("noise") for caption, _ in tiles)
    sheet = Image.new("RGB", (width, height + (_BAR if barred else 0)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for place, (caption, tile) in enumerate(tiles):
        left, top = place % columns * (_SIDE + 6) + 3, place // columns * (_SIDE + _CAPTION + 6) + 3
        draw.text((left, top), caption, "black", font)
        size = Image.Resampling.NEAREST if max(tile.shape[:2]) <= _SIDE else Image.Resampling.BOX
        sheet.paste(Image.fromarray(tile).resize((_SIDE, _SIDE), size), (left, top + _CAPTION))
        draw.rectangle((left, top + _CAPTION, left + _SIDE - 1, top + _CAPTION + _SIDE - 1), outline="#cccccc")
    if barred:
        draw.text((3, height), "noise", "black", font)
        _draw_bar(sheet, draw, (58, height, width - 12), least, most)
    return sheet


def _shaded(noise: Float[ndarray, "h w"], least: float, most: float) -> UInt8[ndarray, "h w 3"]:
    return _coloured("Blues", np.log(np.clip(noise, least, most)), math.log(least), math.log(most))


def _draw_bar(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, place: tuple[int, int, int], least: float, most: float
) -> None:
    """The colours of the noise from left to right, with a tick at every power of ten."""
    left, top, right = place
    steps = np.geomspace(least, most, right - left)
    sheet.paste(Image.fromarray(_shaded(np.tile(steps, (12, 1)), least, most)), (left, top + 2))
    font, count = ImageFont.load_default(12), round(math.log10(most / least))
    for step in range(count + 1):
        at = left + round(step * (right - left - 1) / count)
        draw.line((at, top + 2, at, top + 16), "black")
        draw.text((at, top + 17), f"{least * 10**step:g}", "black", font, anchor="ma")


def _plane(values: Float[ndarray, " d"], x: Tensor) -> Float[ndarray, "height width"]:
    image = picture(values.reshape(x.shape))
    assert image is not None
    return image if image.ndim == 2 else image.mean(axis=2)


def _coloured(colors: str, values: Float[ndarray, "h w"], low: float, high: float) -> UInt8[ndarray, "h w 3"]:
    return colormaps[colors]((values - low) / (high - low), bytes=True)[..., :3]
