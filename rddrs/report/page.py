"""One self-contained HTML page for a run or a comparison: what was found, figures, tables and a gallery of inputs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
import pandas as pd
from matplotlib.figure import Figure

from rddrs.files import write_text
from rddrs.report.figures import CAPTIONS
from rddrs.report.gallery import data_uri, gallery
from rddrs.report.headline import headline, tiles
from rddrs.report.paths import path_cells
from rddrs.report.sheet import accuracy_cells, comparison_cells, severity_cells
from rddrs.report.style import vector_bytes
from rddrs.report.tables import LOW_FIDELITY, Run, compare, in_order, round_down
from rddrs.report.threats import threat_cells

PICTURES = ("eigenvectors", "contact_sheet")
"""Figures that hold pictures: many columns wide, on paper on any ground."""


FIRST = ("certified_accuracy", "paths")
"""Figures that come before the others."""


def write_page(
    path: Path,
    runs: Sequence[Run],
    figures: Mapping[str, Figure | Path],
    title: str,
    inputs: int = 500,
    severities: pd.DataFrame | None = None,
    isotropic: Run | None = None,
    command: str = "",
    made: str = "",
    left_out: Sequence[str] = (),
) -> Path:
    """Write one page about one run or several, which needs no other file and no network.

    The gallery holds at most `inputs` rows, one for each input under each run, evenly spaced over a run's inputs.
    A figure may be the file of vectors that `save` wrote of it. Of a run alone: `severities`, its `threat_summary`,
    becomes a table, `isotropic`, its counterpart, stands beside its figures, `command` makes it again, and it was
    `made` on a day. What the figures leave out is said above them. Raises ValueError where there is no run.
    """
    if not runs:
        raise ValueError("a page needs at least one run")
    runs = sorted(runs, key=in_order)
    alone = len(runs) == 1
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    found = gallery(runs, max(1, inputs // len(runs)))
    sentence, details = headline(runs, made)
    told = None if alone else severity_cells(runs)
    if severities is not None:
        told = (*threat_cells(severities), set())
    text = environment.get_template("page.html").render(
        title=title,
        headline=sentence,
        details=details,
        command=command,
        tiles=tiles(runs[0], isotropic) if alone else [],
        comparison=comparison_cells(runs),
        accuracies=accuracy_cells(runs),
        severities=told,
        paths=path_cells(runs),
        doubts=_doubts(compare(runs).to_dict("records")),
        left_out=left_out,
        figures=[
            {
                "name": name.replace("_", " ").capitalize(),
                "caption": CAPTIONS.get(name, ""),
                "uri": data_uri(
                    "image/svg+xml", figure.read_bytes() if isinstance(figure, Path) else vector_bytes(figure)
                ),
                "pictures": name in PICTURES,
            }
            for name, figure in sorted(figures.items(), key=lambda pair: pair[0] not in FIRST)
        ],
        configurations=[(run.name, run.configuration) for run in runs if run.configuration],
        pictures=found["pictures"],
        maps=found["maps"],
        limits=found["limits"],
        shades=found["shades"],
        # "<" could end the script element that holds the cards.
        cards=json.dumps(found["cards"], allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
        total=len(set().union(*(run.records["index"] for run in runs))),
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
                f"{name}: mean fidelity {round_down(row['fidelity'])}. Noise takes so much of the accuracy of its "
                "smoothed classifiers on other inputs that the size of its regions says little."
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
