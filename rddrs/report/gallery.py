"""The gallery of a page: a card for every input, with a row for every run, and the pictures that they show."""

import base64
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8
from matplotlib import colormaps
from matplotlib.colors import to_hex
from numpy import ndarray
from PIL import Image

from rddrs.certification import ABSTAIN
from rddrs.noise import Scale
from rddrs.pictures.images import brightness, noise_limits, noise_map, picture, principal_axes
from rddrs.report.figures import outcomes
from rddrs.report.tables import FIDELITY, Run, evenly, fidelity_interval, labels
from rddrs.rounding import round_down

_SHEET_COLUMNS = 40
_AXES = 3
_TOLD = ("index", "label", "prediction", "status", "contradictions", "proxy_radius", "ball_radius", "radius", *FIDELITY)
"""The columns of the records that a card tells."""

Tile = UInt8[ndarray, "height width *rgb"]


def gallery(runs: Sequence[Run], count: int) -> dict[str, Any]:
    """The sheets `pictures`, of inputs, and `maps`, of noise and eigenvectors, the `cards`, and the `limits` of noise.

    A card is of an input, with a row for every run that has it among `count` of its inputs, evenly spaced. All noise
    is on one scale, whose colours are `shades`. The axes of regions are those of a run that is alone.
    """
    chosen = [(run, label, evenly(run.records, count)) for run, label in labels(runs).items()]
    limits = max(noise_limits(run.input(index)) for run, _, indices in chosen for index in indices)
    pictures: list[Tile] = []
    maps: list[Tile] = []
    cards: dict[Any, dict[str, Any]] = {}
    for run, label, indices in chosen:
        records = run.records[[name for name in run.records if name in _TOLD]]
        records = records.assign(outcome=outcomes(run.records)).set_index("index")
        for index, row in records.loc[indices].to_dict("index").items():
            x, scale = run.load(index)
            image = picture(brightness(x))
            tiles = [] if image is None else _maps(scale, x.shape, limits, _AXES if len(runs) == 1 else 0)
            key = (index, int(row["label"]), tuple(x.shape), x.detach().cpu().numpy().tobytes())
            if key not in cards:
                cards[key] = {
                    "index": index,
                    "label": int(row["label"]),
                    "picture": len(pictures) if image is not None else -1,
                    "values": [] if image is not None else [f"{value:.3g}" for value in x.flatten()[:8].tolist()],
                    "rows": [],
                }
                if image is not None:
                    pictures.append(np.rint(255 * image).astype(np.uint8))
            cards[key]["rows"].append(
                {
                    "run": f"{label}, sigma {run.sigma:g}",
                    "prediction": "none" if row["prediction"] == ABSTAIN else int(row["prediction"]),
                    "outcome": row["outcome"],
                    "status": str(row["status"]),
                    "contradictions": int(row["contradictions"]),
                    **{name: round_down(row[name]) for name in ("proxy_radius", "ball_radius", "radius", "fidelity")},
                    "interval": fidelity_interval(row),
                    "maps": len(maps),
                    "captions": [caption for caption, _ in tiles],
                }
            )
            maps += [tile for _, tile in tiles]
    palette = np.concatenate([colormaps[name](np.linspace(0, 1, 128), bytes=True) for name in ("Blues", "RdBu_r")])
    return {
        "pictures": _sheet(pictures),
        "maps": _sheet(maps, palette),
        "cards": sorted(cards.values(), key=lambda card: card["index"]),
        "limits": [f"{limit:g}" for limit in limits],
        "shades": [to_hex(it) for it in colormaps["Blues"](np.linspace(0, 1, 5))],
    }


def _maps(scale: Scale, shape: Sequence[int], limits: tuple[float, float], axes: int) -> list[tuple[str, Tile]]:
    """Noise map and longest axes as captioned tiles: 0 to 127 counts the noise, 128 to 255 an eigenvector's sign."""

    def tile(values: ndarray, least: float, most: float, first: int) -> Tile:
        image = picture(values.reshape(shape))
        assert image is not None
        image = image if image.ndim == 2 else image.mean(axis=2)
        return (first + np.rint(127 * (image - least) / (most - least))).astype(np.uint8)

    noise = noise_map(scale)
    return [
        (f"noise {noise.max():.3g}", tile(np.log(noise.clip(*limits)), math.log(limits[0]), math.log(limits[1]), 0)),
        *(
            (f"\u03bb{rank} = {value:.3g}", tile(vector, -np.abs(vector).max(), np.abs(vector).max(), 128))
            for rank, value, vector in principal_axes(scale, axes)
        ),
    ]


def _sheet(tiles: Sequence[Tile], palette: UInt8[ndarray, "256 4"] | None = None) -> dict:
    """All tiles side by side on one PNG, and how many columns and rows it has; tiles are padded to the largest."""
    if not tiles:
        return {"uri": "", "columns": 1, "rows": 1}
    height, width = max(len(tile) for tile in tiles), max(tile.shape[1] for tile in tiles)
    columns = min(_SHEET_COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    depth = max(tile.ndim for tile in tiles)
    sheet = np.full((rows * height, columns * width, 3)[:depth], 255, dtype=np.uint8)
    for place, tile in enumerate(tiles):
        top, left = place // columns * height, place % columns * width
        sheet[top : top + len(tile), left : left + tile.shape[1]] = tile if tile.ndim == depth else tile[..., None]
    image = Image.fromarray(sheet)
    if palette is not None:
        image.putpalette(palette[:, :3].tobytes())
    with io.BytesIO() as buffer:
        image.save(buffer, format="PNG", optimize=True)
        return {"uri": data_uri("image/png", buffer.getvalue()), "columns": columns, "rows": rows}


def data_uri(kind: str, content: bytes) -> str:
    """Content as an address."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
