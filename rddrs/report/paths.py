"""What paths are worth over all inputs: the share that is certified as a whole, and how far the others come."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy import ndarray
from rich.box import SIMPLE_HEAD
from rich.table import Table
from torch import Tensor

from rddrs.certification import PathTerms
from rddrs.certification.cells import Course
from rddrs.certification.paths import feared
from rddrs.records.record import path_column, path_names
from rddrs.report.severities import unit_of
from rddrs.report.sheet import Cells
from rddrs.report.style import a_row_each, looks, name_below, styled
from rddrs.report.tables import Run, confidence_band, labels, needed
from rddrs.rounding import round_down, round_up
from rddrs.smoothing import Classifier


def path_summary(records: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Of every path: what was `asked`, the `share` of inputs that are right and certified all along it, and more.

    That is the share's 95 % Clopper-Pearson interval, `share_low` to `share_high`, the mean `samples` an input, for how
    many inputs it has `too_many_cells` for its budget, whether it is of the `unrounded` images, too, and where it is
    without its `regions` that.
    """
    found = {}
    for name in path_names(records):
        asked, complete, prediction, samples, status = (
            records[path_column(name, column)].to_numpy()
            for column in ("asked", "complete", "prediction", "samples", "status")
        )
        right = complete.astype(bool) & (prediction == records["label"].to_numpy())
        low, high = confidence_band(right.mean(keepdims=True), len(records))
        found[name] = {
            "asked": json.loads(asked[0]),
            "share": float(right.mean()),
            "share_low": float(low[0]),
            "share_high": float(high[0]),
            "samples": float(samples.mean()),
            "too_many_cells": int((status == "cells").sum()),
            "unrounded": path_column(name, "unrounded") not in records,
            **({"regions": False} if path_column(name, "regions") in records else {}),
        }
    return found


def path_metrics(records: pd.DataFrame) -> dict[str, float]:
    """The figures of the summary that MLflow shows, which has no names with a plus: `rotation:brightness`."""
    return {
        f"path/{name.replace('+', ':')}/{key}": value
        for name, values in path_summary(records).items()
        for key, value in values.items()
        if key not in ("asked", "unrounded", "regions")
    }


_HEADINGS = ["certified as a whole", "from", "to", "share", "95 % band", "samples an input"]


def _row(name: str, values: Mapping[str, Any]) -> list[str]:
    """A path of `path_summary` under those headings; shares are rounded down, the upper end of their band up."""
    low, high = (", ".join(map(str, np.atleast_1d(end).tolist())) for end in values["asked"])
    band = f"{round_down(values['share_low'])} to {round_up(values['share_high'])}"
    told = name.replace("_", " ").replace("+", " + ") + ("" if values.get("unrounded", True) else ", rounded alone")
    return [told, low, high, round_down(values["share"]), band, f"{values['samples']:.0f}"]


def path_table(summary: Mapping[str, Mapping[str, Any]], width: int = 80) -> Table:
    """What a run says of its paths at its end, in so many columns: the last that do not fit are left out.

    Below it are the paths that have too many cells for their budget of samples.
    """
    headings, rows = _HEADINGS, [_row(name, values) for name, values in summary.items()]
    beyond = [
        f"{_row(name, values)[0]}: for {count} of the inputs it needs more cells than its budget of samples can certify"
        for name, values in summary.items()
        if (count := values["too_many_cells"])
    ]
    while True:
        table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), caption="\n".join(beyond) or None, caption_justify="left")
        for heading in headings:
            table.add_column(heading, justify="left" if heading == _HEADINGS[0] else "right", overflow="fold")
        for row in rows:
            table.add_row(*row[: len(headings)])
        if len(headings) == 4 or needed(table) <= width:
            return table
        headings = headings[:-1]


def path_cells(runs: Sequence[Run]) -> Cells | None:
    """Headings and rows of the table of the paths of all runs, and whose they are; None where there is no path."""
    rows = [
        [*_row(name, values), f"{label}, sigma {run.sigma:g}", str(run.records["paths_of"].iloc[0])]
        for run, label in labels(runs).items()
        for name, values in path_summary(run.records).items()
    ]
    return ([*_HEADINGS, "run", "paths of"], rows, set()) if rows else None


def reached(records: pd.DataFrame, name: str, severities: Float[ndarray, " s"]) -> Float[ndarray, " s"]:
    """The share of inputs that are right and certified from 0 to each severity; of a box, to a share of its sides."""
    right = (records[path_column(name, "prediction")] == records["label"]).to_numpy()
    if (column := path_column(name, "share")) in records:
        covered = records[column].to_numpy()[:, None] >= severities
    else:
        low, high = (records[path_column(name, end)].to_numpy()[:, None] for end in ("low", "high"))
        covered = (low <= severities) & (severities <= high)
    return (covered & right[:, None]).mean(axis=0)


def grid_of(records: pd.DataFrame, name: str, count: int = 201) -> Float[ndarray, " s"]:
    """The severities that a figure of the path shows, or the shares of the sides of a box."""
    asked = json.loads(records[path_column(name, "asked")].iloc[0])
    return np.linspace(0, 1, count) if isinstance(asked[0], list) else np.linspace(asked[0], asked[1], count)


def clean_accuracy(
    classifier: Classifier,
    labelled: Iterable[tuple[Float[Tensor, "*shape"], int]],
    terms: PathTerms,
    count: int = 21,
) -> tuple[Float[ndarray, " s"], Float[ndarray, " s"]] | None:
    """`count` severities of a path, and the accuracy there, on labelled inputs, without noise; None of a box."""
    if isinstance(terms.low, tuple) or isinstance(terms.high, tuple):
        return None
    severities, right = torch.linspace(terms.low, terms.high, count, dtype=torch.float64), []
    for x, label in labelled:
        images = Course(feared(terms.perturbation), x, terms.clamp).points(severities[:, None].to(x.device))
        with torch.inference_mode():
            answers = classifier(images.to(x.dtype).view(-1, *x.shape)).argmax(dim=1)
        right.append((answers == label).cpu().numpy())
    return severities.numpy(), np.mean(right, axis=0)


@styled
def path_figure(
    runs: Sequence[Run], clean: Mapping[tuple[str, str], tuple[ndarray, ndarray] | None] | None = None
) -> Figure:
    """The share of inputs that are right and certified up to each severity, a panel a path, a curve a run.

    `clean` has, by the names of run and path, the `clean_accuracy` of the run's network, which is dotted, once for
    networks that are equally right. Of a box the axis is the share of its sides.
    """
    names = list(dict.fromkeys(name for run in runs for name in path_names(run.records)))
    figure, axes = a_row_each(len(names), height=2.9)
    appearance = looks(runs)
    for axis, name in zip(axes, names, strict=True):
        drawn: list[ndarray] = []
        alone = [path_column(name, "unrounded") in run.records for run in runs if name in path_names(run.records)]
        told = ", rounded alone" if all(alone) else ", some rounded alone" if any(alone) else ""
        for run in runs:
            if name in path_names(run.records):
                severities = grid_of(run.records, name)
                axis.plot(severities, reached(run.records, name, severities), **appearance[run])
            curve = (clean or {}).get((run.name, name))
            if curve and not any(np.array_equal(curve[1], other) for other in drawn):
                look: dict[str, Any] = (
                    {"color": appearance[run]["color"]} if drawn else {"color": "#777777", "label": "without noise"}
                )
                axis.plot(*curve, linestyle=":", **look)
                drawn.append(curve[1])
        axis.set(title=name.replace("_", " ") + told, xlabel=unit_of(name) or "share of the box", ylim=(0, 1.03))
        axis.set_ylabel("certified share")
        axis.xaxis.set_major_locator(MaxNLocator(6))
    name_below(figure)
    return figure
