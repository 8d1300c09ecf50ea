"""An object as HTML: its picture and its numbers."""

import base64
import html
import io
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from PIL import Image
from torch import Tensor

from rddrs.noise import Scale
from rddrs.pictures.images import brightness, picture
from rddrs.pictures.portraits import portrait


def card(title: str, x: Float[Tensor, "*shape"], scale: Scale, numbers: Mapping[str, str]) -> str:
    """HTML of the input's portrait with its scale, and a table of the numbers, for `_repr_html_`."""
    with io.BytesIO() as buffer:
        portrait(x, scale).save(buffer, "PNG")
        encoded = base64.b64encode(buffer.getvalue()).decode()
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>" for name, text in numbers.items()
    )
    picture = f'<img alt="the input, its noise and the axes of its region" src="data:image/png;base64,{encoded}">'
    return f"<figure>{picture}<figcaption>{html.escape(title)}<table>{rows}</table></figcaption></figure>"


def strip_card(title: str, images: Float[Tensor, "n *shape"], captions: Sequence[str]) -> str:
    """HTML of images side by side, each with its caption; of the captions alone where they are no images."""
    cells = []
    for values, caption in zip(images, captions, strict=True):
        image = picture(brightness(values))
        shown = "" if image is None else f'<img alt="{html.escape(caption)}" src="{_png(image)}">'
        cells.append(f"<td>{shown}<br>{html.escape(caption)}</td>")
    return f"<figure><table><tr>{''.join(cells)}</tr></table><figcaption>{html.escape(title)}</figcaption></figure>"


def _png(image: Float[ndarray, "height width *rgb"]) -> str:
    """An image in [0, 1] as the address of a PNG of at least 64 pixels."""
    pixels = Image.fromarray(np.rint(255 * image).astype(np.uint8))
    larger = -(-64 // max(pixels.size))
    with io.BytesIO() as buffer:
        pixels.resize((larger * pixels.width, larger * pixels.height), Image.Resampling.NEAREST).save(buffer, "PNG")
        return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
