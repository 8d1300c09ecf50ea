"""An object as HTML: its picture and its numbers."""

import base64
import html
import io
from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from rddrs.noise import Scale
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
