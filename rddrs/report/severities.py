"""What certificates mean for a person: certified severities of named perturbations (METHOD section 4.5)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from rddrs.report.style import looks, panels, styled
from rddrs.report.tables import Run, share_at_least
from rddrs.threats import PERTURBATIONS

PREFIX = "severity_"
_COLUMNS = 4
_UNITS = {each.name: each.unit for each in PERTURBATIONS}


def unit_of(name: str) -> str:
    """The unit of a named perturbation's severity; empty for one of a user's own."""
    return _UNITS.get(name, "")


def _measured(records: pd.DataFrame) -> list[str]:
    return [str(column).removeprefix(PREFIX) for column in records if str(column).startswith(PREFIX)]


def mean_severities(records: pd.DataFrame) -> dict[str, float]:
    """The mean certified severity of every perturbation that the records hold, 0 where the prediction is wrong."""
    correct = records["correct"].to_numpy(float)
    return {name: float(np.mean(records[PREFIX + name] * correct)) for name in _measured(records)}


@styled
def severity_figure(runs: Sequence[Run]) -> Figure:
    """The share of inputs that are right and certified up to each severity, one panel a perturbation.

    Runs of different sigma differ in strength: the fullest line is that of the largest.
    """
    measured = list(dict.fromkeys(name for run in runs for name in _measured(run.records)))
    figure, axes = panels(min(_COLUMNS, len(measured)), -(-len(measured) // _COLUMNS), 2.6, 2.2, sharey=True)
    appearance = looks(runs)
    sigmas = sorted({run.sigma for run in runs}, reverse=True)
    strength = dict(zip(sigmas, np.linspace(1, 0.35, len(sigmas)).tolist(), strict=True))
    for axis, name in zip(axes.flat, measured, strict=False):
        for run in runs:
            if PREFIX + name in run.records:
                values = np.where(run.records["correct"], run.records[PREFIX + name], -1.0)
                grid = np.unique([0.0, *values[values >= 0]])
                axis.step(grid, share_at_least(values, grid), where="pre", alpha=strength[run.sigma], **appearance[run])
        axis.set(title=name.replace("_", " "), xlabel=unit_of(name), ylim=(0, 1.03))
    for axis in axes.flat[len(measured) :]:
        axis.set_visible(False)
    if len(runs) > 1:
        lines = {line.get_label(): line for line in axes.flat[0].lines if line.get_alpha() == 1}
        title = r"$\sigma$ = " + ", ".join(f"{sigma:g}" for sigma in sigmas) if len(sigmas) > 1 else None
        figure.legend(lines.values(), lines.keys(), loc="outside right upper", title=title)
    axes[0][0].set_ylabel("certified share")
    return figure
