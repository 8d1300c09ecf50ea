"""One picture of an input and of its scale, small enough to draw one for every input of a run."""

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from rddrs.noise import Scale
from rddrs.pictures.images import brightness, covariance_map, noise_map, picture, principal_axes

_SIDE, _CAPTION, _COLUMNS, _AXES = 160, 18, 3, 3


def portrait(x: Float[Tensor, "*shape"], scale: Scale) -> Image.Image:
    """The input, the noise in every coordinate, the covariance C C and the region's longest axes, captioned.

    An input that is no image has its covariance alone, or its noise where it is large; a large image no covariance.
    """
    noise, tiles, image = noise_map(scale), [], picture(brightness(x))
    if (found := covariance_map(scale)) is not None:
        covariance, limit = found
        tiles = [(f"covariance, to {limit:.2g}", _coloured("vlag", covariance, -limit, limit))]
    elif image is None:
        tiles = [(f"noise, to {noise.max():.2g}", _coloured("Blues", noise[None], 0, noise.max()))]
    if image is not None:
        shown = np.rint(255 * image).astype(np.uint8) if image.ndim == 3 else _coloured("gray", image, 0, 1)
        tiles = [
            ("input", shown),
            (f"noise, to {noise.max():.2g}", _coloured("Blues", _plane(noise, x), 0, noise.max())),
            *tiles,
            *(
                (f"axis {rank}: {value:.2g}", _coloured("vlag", _plane(axis, x), -abs(axis).max(), abs(axis).max()))
                for rank, value, axis in principal_axes(scale, _AXES)
            ),
        ]
    columns = min(_COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * (_SIDE + 6), rows * (_SIDE + _CAPTION + 6)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for place, (caption, tile) in enumerate(tiles):
        left, top = place % columns * (_SIDE + 6) + 3, place // columns * (_SIDE + _CAPTION + 6) + 3
        draw.text((left, top), caption, "black", font)
        size = Image.Resampling.NEAREST if max(tile.shape[:2]) <= _SIDE else Image.Resampling.BOX
        sheet.paste(Image.fromarray(tile).resize((_SIDE, _SIDE), size), (left, top + _CAPTION))
        draw.rectangle((left, top + _CAPTION, left + _SIDE - 1, top + _CAPTION + _SIDE - 1), outline="#cccccc")
    return sheet


def _plane(values: Float[ndarray, " d"], x: Tensor) -> Float[ndarray, "height width"]:
    image = picture(values.reshape(x.shape))
    assert image is not None
    return image if image.ndim == 2 else image.mean(axis=2)


def _coloured(colors: str, values: Float[ndarray, "h w"], low: float, high: float) -> UInt8[ndarray, "h w 3"]:
    import seaborn as sns

    return sns.color_palette(colors, as_cmap=True)((values - low) / (high - low), bytes=True)[..., :3]
