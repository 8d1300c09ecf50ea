"""What certificates mean for a person: certified severities of named perturbations (METHOD sections 4.5, 13)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from rddrs.records.record import is_tested, measured, severity_column
from rddrs.report.style import looks, panels, styled
from rddrs.report.tables import Run, share_at_least
from rddrs.threats import PERTURBATIONS

_COLUMNS = 4
_UNITS = {each.name: each.unit for each in PERTURBATIONS}


def unit_of(name: str) -> str:
    """The unit of a named perturbation's severity; empty for one of a user's own."""
    return _UNITS.get(name, "")


def mean_severities(records: pd.DataFrame) -> dict[str, float]:
    """The mean certified severity of every perturbation that the records hold, 0 where the prediction is wrong.

    It is that of both signs, where a perturbation has them.
    """
    correct = records["correct"].to_numpy(float)
    return {name: float(np.mean(records[severity_column(name)] * correct)) for name in measured(records)}


@styled
def severity_figure(runs: Sequence[Run]) -> Figure:
    """The share of inputs that are right and certified up to each severity, one panel a perturbation.

    Runs of different sigma differ in strength: the fullest line is that of the largest.
    """
    names = list(dict.fromkeys(name for run in runs for name in measured(run.records)))
    figure, axes = panels(min(_COLUMNS, len(names)), -(-len(names) // _COLUMNS), 2.6, 2.2, sharey=True)
    appearance = looks(runs)
    sigmas = sorted({run.sigma for run in runs}, reverse=True)
    strength = dict(zip(sigmas, np.linspace(1, 0.35, len(sigmas)).tolist(), strict=True))
    for axis, name in zip(axes.flat, names, strict=False):
        for run in runs:
            if severity_column(name) in run.records:
                values = np.where(run.records["correct"], run.records[severity_column(name)], -1.0)
                grid = np.unique([0.0, *values[values >= 0]])
                axis.step(grid, share_at_least(values, grid), where="pre", alpha=strength[run.sigma], **appearance[run])
        tested = ", tested" if any(is_tested(run.records, name) for run in runs) else ""
        axis.set(title=name.replace("_", " ") + tested, xlabel=unit_of(name), ylim=(0, 1.03))
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    if len(runs) > 1:
        lines = {line.get_label(): line for line in axes.flat[0].lines if line.get_alpha() == 1}
        title = r"$\sigma$ = " + ", ".join(f"{sigma:g}" for sigma in sigmas) if len(sigmas) > 1 else None
        figure.legend(lines.values(), lines.keys(), loc="outside right upper", title=title)
    axes[0][0].set_ylabel("certified share")
    return figure
