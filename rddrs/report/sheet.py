"""The tables of a page: headings, rows of text, and which cells are the best of their column."""

import re
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from rddrs.report.severities import mean_severities, told_name, unit_of
from rddrs.report.tables import (
    HEADINGS,
    RADII,
    Run,
    alike,
    certified_accuracy,
    compare,
    confidence_band,
    interval,
    labels,
    needed,
    shown,
)
from rddrs.rounding import round_down

Cells = tuple[list[str], list[list[str]], set[tuple[int, int]]]
"""Headings, rows, and the places (row, column) of the best."""


NARROWEST = 6
"""No column of severities, 0.000 and a space, takes less of a terminal."""


def best_of(values: Sequence[float], groups: Sequence[float]) -> set[int]:
    """The places of the largest value of each group that has several; of none where all are the same, as shown."""
    thousandths, found = np.floor(np.round(1000 * np.asarray(values), 6)), set()
    for group in set(groups):
        places = [place for place, it in enumerate(groups) if it == group]
        most, least = (choose(thousandths[place] for place in places) for choose in (max, min))
        found |= {place for place in places if thousandths[place] == most > least}
    return found


def comparison_cells(runs: Sequence[Run]) -> Cells:
    """A row a run: what `compare` has, certified accuracy with its interval; the best of those `alike` are marked."""
    table = compare(runs)
    headings = [heading.replace("-\n", "").replace("\n", " ") for heading in HEADINGS.values()]
    rows, names, groups = shown(table), [*HEADINGS], alike(runs)
    place = names.index("certified_accuracy")
    for row, run, share in zip(rows, runs, table["certified_accuracy"], strict=True):
        low, high = (float(bound[0]) for bound in confidence_band(np.array([share]), len(run.records)))
        row[place] += f" ({interval(low, high)})"
    best = {
        (row, names.index(name))
        for name in ("certified_accuracy", "acr_proxy", "acr_ball", "fidelity")
        for row in best_of(table[name].tolist(), groups)
    }
    return headings, rows, best


def accuracy_cells(runs: Sequence[Run]) -> Cells:
    """Two rows a run: certified accuracy at each radius that an input reaches; the best of those alike are marked."""
    kinds, pairs, groups = ("ball", "proxy"), list(labels(runs).items()), alike(runs)
    shares = np.array(
        [certified_accuracy(run.records, RADII, f"{kind}_radius") for kind in kinds for run, _ in pairs]
    ).reshape(len(kinds), len(pairs), len(RADII))
    used = [place for place in range(len(RADII)) if place == 0 or shares[..., place].any()]
    rows, best = [], set()
    for kind, each in zip(kinds, shares, strict=True):
        for column, place in enumerate(used):
            found = best_of(each[:, place].tolist(), groups)
            best |= {(len(rows) + row, column + 3) for row in found}
        rows += [
            [label, f"{run.sigma:g}", kind, *(round_down(row[place]) for place in used)]
            for (run, label), row in zip(pairs, each, strict=True)
        ]
    return ["run", "sigma", "radius", *(f"{RADII[place]:g}" for place in used)], rows, best


def severity_cells(runs: Sequence[Run]) -> Cells | None:
    """A row a perturbation, a column a run: mean certified severities; the best of those alike are marked.

    None where no run has severities.
    """
    pairs = [(label, run, mean_severities(run.records)) for run, label in labels(runs).items()]
    names = list(dict.fromkeys(name for *_, means in pairs for name in means))
    if not names:
        return None
    several, groups = len({run.sigma for run in runs}) > 1, alike(runs)
    headings = ["perturbation", *(f"{label}, {run.sigma:g}" if several else label for label, run, _ in pairs), "unit"]
    rows, best = [], set()
    for row, name in enumerate(names):
        values = [means.get(name, float("nan")) for *_, means in pairs]
        best |= {(row, place + 1) for place in best_of(np.nan_to_num(values, nan=-1.0).tolist(), groups)}
        told = told_name(name, (run.records for run in runs))
        rows.append([told, *map(round_down, values), unit_of(name)])
    return headings, rows, best


def severity_table(runs: Sequence[Run], width: int = 80) -> Table | None:
    """The table of `severity_cells` for a terminal of so many columns; the last runs, if they do not fit, are left out.

    None where no run has severities.
    """

    def taken(count: int) -> int:
        table = _severity_table(runs[:count])
        return 0 if table is None else needed(table)

    counts = range(2, min(len(runs), width // NARROWEST) + 1)
    return _severity_table(runs[: 1 + bisect_right(counts, width, key=taken)])


def _severity_table(runs: Sequence[Run]) -> Table | None:
    if (cells := severity_cells(runs)) is None:
        return None
    headings, rows, best = cells
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), title="mean certified severities", title_justify="left")
    for place, heading in enumerate(headings):
        left = place in (0, len(headings) - 1)
        table.add_column(re.sub(", |_| ", "\n", heading), justify="left" if left else "right")
    for number, row in enumerate(rows):
        table.add_row(*(f"[bold]{it}[/]" if (number, place) in best else it for place, it in enumerate(row)))
    return table
