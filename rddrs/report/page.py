"""One self-contained HTML page for a run or a comparison: tables, figures and a gallery of inputs."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd
import seaborn as sns
from jaxtyping import UInt8
from matplotlib.figure import Figure
from numpy import ndarray
from PIL import Image

from rddrs.certification import ABSTAIN
from rddrs.files import write_text
from rddrs.noise import Scale
from rddrs.pictures.images import brightness, noise_map, picture, principal_axes
from rddrs.report.figures import CAPTIONS, evenly, outcomes
from rddrs.report.style import vector_bytes
from rddrs.report.tables import (
    HEADINGS,
    LOW_FIDELITY,
    RADII,
    Run,
    certified_accuracy,
    compare,
    fidelity_interval,
    labels,
    round_down,
    shown,
)
from rddrs.report.threats import threat_cells

PICTURES = ("eigenvectors", "contact_sheet")
"""Figures that hold pictures: many columns wide, on paper on any ground."""

_SHEET_COLUMNS = 40
_AXES = 3

Tile = UInt8[ndarray, "height width *rgb"]


def write_page(
    path: Path,
    runs: Sequence[Run],
    figures: Mapping[str, Figure | Path],
    title: str,
    inputs: int = 500,
    severities: pd.DataFrame | None = None,
) -> Path:
    """Write one page about one run or several, which needs no other file and no network.

    The gallery holds at most `inputs` cards, one for each input under each run, evenly spaced over a run's inputs.
    A figure may be the file of vectors that `save` wrote of it. `severities`, the `threat_summary` of a run, becomes
    a table.
    Raises ValueError where there is no run.
    """
    if not runs:
        raise ValueError("a page needs at least one run")
    comparison = compare(runs)
    pictures, maps, cards = _gallery(runs, max(1, inputs // len(runs)))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    text = environment.get_template("page.html").render(
        title=title,
        headings=[heading.replace("-\n", "").replace("\n", " ") for heading in HEADINGS.values()],
        rows=shown(comparison),
        doubts=_doubts(comparison.to_dict("records")),
        radii=[f"{radius:g}" for radius in RADII],
        accuracies=[
            (label, f"{run.sigma:g}", name, *map(round_down, certified_accuracy(run.records, RADII, f"{name}_radius")))
            for run, label in labels(runs).items()
            for name in ("proxy", "ball")
        ],
        severities=None if severities is None else threat_cells(severities),
        figures=[
            {
                "name": name.replace("_", " "),
                "caption": CAPTIONS.get(name, ""),
                "uri": _uri("image/svg+xml", figure.read_bytes() if isinstance(figure, Path) else vector_bytes(figure)),
                "wide": name in PICTURES,
            }
            for name, figure in figures.items()
        ],
        configurations=[(run.name, run.configuration) for run in runs if run.configuration],
        pictures=pictures,
        maps=maps,
        # "<" could end the script element that holds the cards.
        cards=json.dumps(cards, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
        total=sum(len(run.records) for run in runs),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
    return path


def _doubts(rows: Sequence[dict]) -> list[str]:
    """What a reader must know before believing a run's radii."""
    found = []
    for row in rows:
        name = f"{row['label']} at sigma {row['sigma']:g}"
        if row["fidelity"] < LOW_FIDELITY:
            found.append(
                f"{name}: mean fidelity {round_down(row['fidelity'])}. Its smoothed classifiers give much the same "
                "answer whatever the input is, so that the size of its regions says little."
            )
        if row.get("refused", 0) > 0:
            found.append(
                f"{name}: for {row['refused']:.0f} of {row['inputs']} inputs every C but sigma I was refused. There "
                "this run is RS, and says nothing of its method."
            )
        if row["contradictions"]:
            times = row["contradictions"]
            found.append(f"{name}: {times} times a reference input of another class lies inside a certified region.")
    return found


def _gallery(runs: Sequence[Run], count: int) -> tuple[dict, dict, list[dict]]:
    """The sheet of input pictures, the sheet of noise maps and eigenvectors, and a card for every input and run."""
    pictures: list[Tile] = []
    maps: list[Tile] = []
    cards = []
    for run, label in labels(runs).items():
        records = run.records.assign(outcome=outcomes(run.records)).set_index("index")
        for index in evenly(run.records, count):
            row = records.loc[index]
            x, scale = run.load(index)
            image = picture(brightness(x))
            tiles = [] if image is None else _maps(scale, x.shape)
            cards.append(
                {
                    "run": f"{label}, sigma {run.sigma:g}",
                    "index": index,
                    "label": int(row["label"]),
                    "prediction": "none" if row["prediction"] == ABSTAIN else int(row["prediction"]),
                    "outcome": row["outcome"],
                    "status": str(row["status"]),
                    "contradictions": int(row["contradictions"]),
                    **{name: round_down(row[name]) for name in ("proxy_radius", "ball_radius", "radius", "fidelity")},
                    "interval": fidelity_interval(row.to_dict()),
                    "picture": len(pictures) if image is not None else -1,
                    "values": [] if image is not None else [f"{value:.3g}" for value in x.flatten()[:8].tolist()],
                    "maps": len(maps),
                    "captions": [caption for caption, _ in tiles],
                }
            )
            maps += [tile for _, tile in tiles]
            if image is not None:
                # Grey pictures are drawn as ink on paper.
                pictures.append(np.rint(255 * (image if image.ndim == 3 else 1 - image)).astype(np.uint8))
    palette = [*sns.color_palette("Blues", 128), *sns.color_palette("vlag", 128)]
    return _sheet(pictures), _sheet(maps, palette), cards


def _maps(scale: Scale, shape: Sequence[int]) -> list[tuple[str, Tile]]:
    """Noise map and longest axes as captioned tiles: 0 to 127 counts the noise, 128 to 255 an eigenvector's sign."""

    def tile(values: ndarray, limit: float, low: int) -> Tile:
        image = picture(values.reshape(shape))
        assert image is not None
        image = image if image.ndim == 2 else image.mean(axis=2)
        share = image / limit if low == 0 else (image / limit + 1) / 2
        return (low + np.rint(127 * share)).astype(np.uint8)

    noise = noise_map(scale)
    return [
        (f"noise {noise.max():.2g}", tile(noise, noise.max(), 0)),
        *(
            (f"\u03bb{rank} = {value:.2g}", tile(vector, np.abs(vector).max(), 128))
            for rank, value, vector in principal_axes(scale, _AXES)
        ),
    ]


def _sheet(tiles: Sequence[Tile], palette: Sequence[tuple[float, ...]] | None = None) -> dict:
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
        image.putpalette(np.rint(255 * np.array(palette)).astype(np.uint8).tobytes())
    with io.BytesIO() as buffer:
        image.save(buffer, format="PNG", optimize=True)
        return {"uri": _uri("image/png", buffer.getvalue()), "columns": columns, "rows": rows}


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
