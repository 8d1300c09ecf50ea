"""One self-contained HTML page for a run or a comparison: tables, figures and a gallery of inputs."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
import numpy as np
import seaborn as sns
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure
from numpy import ndarray
from PIL import Image

from rddrs.certify import ABSTAIN
from rddrs.report.figures import CAPTIONS, evenly, outcomes, vector_bytes
from rddrs.report.images import brightness, noise_map, picture, principal_axes
from rddrs.report.tables import (
    HEADINGS,
    RADII,
    RADIUS_COLUMNS,
    Run,
    certified_accuracy,
    compare,
    labels,
    round_down,
    shown,
)

LOW_FIDELITY = 0.9
"""Below this mean fidelity the page warns that a run's radii say little."""

_SHEET_COLUMNS = 40
_AXES = 3


def write_page(
    path: Path, runs: Sequence[Run], figures: Mapping[str, Figure], title: str, inputs: int = 500
) -> Path:
    """Write one page about one run or several, which needs no other file and no network.

    The gallery holds at most `inputs` cards, one for an input under a run, evenly spaced over each run's inputs.
    Raises ValueError where there is no run.
    """
    if not runs:
        raise ValueError("a page needs at least one run")
    cards, sheets = _gallery(runs, max(1, inputs // len(runs)))
    comparison = compare(runs)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    text = environment.get_template("page.html").render(
        title=title,
        headings=[heading.replace("-\n", "").replace("\n", " ") for heading in HEADINGS.values()],
        rows=shown(comparison),
        tiles=_tiles(runs[0]) if len(runs) == 1 else [],
        warnings=_warnings(comparison.to_dict("records")),
        radii=[f"{radius:g}" for radius in RADII],
        accuracies=[
            (label, f"{run.sigma:g}", name, [round_down(share) for share in certified_accuracy(run.records, RADII, c)])
            for run, label in labels(runs).items()
            for c, name in RADIUS_COLUMNS.items()
        ],
        figures=[
            (name.replace("_", " "), CAPTIONS.get(name, ""), _uri("image/svg+xml", vector_bytes(figure)))
            for name, figure in figures.items()
        ],
        configurations=[(run.name, run.configuration) for run in runs if run.configuration],
        sheets=sheets,
        cards=_json(cards),
        total=sum(len(run.records) for run in runs),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
