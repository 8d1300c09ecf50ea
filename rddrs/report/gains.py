"""What a scale is worth against each named perturbation: a dot and an interval, sorted."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator
from numpy import ndarray

from rddrs.records.record import measured, severity_column
from rddrs.report.severities import told_name, unit_of
from rddrs.report.style import PALETTE, SOFT, a_row_each, looks, name_below, styled
from rddrs.report.tables import Run, baseline_of, same_inputs
from rddrs.rounding import round_down

RESAMPLES = 999
FEWEST = 10
"""Of fewer inputs there is no interval: of five, one of 95 % has the mean in 78 % (exponential) to 84 % (normal)."""
TIMES = (0.01, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)


def held(records: pd.DataFrame, name: str) -> Float[ndarray, " n"]:
    """The certified severity of every input, 0 where the answer is wrong."""
    return records[severity_column(name)].to_numpy(float) * records["correct"].to_numpy(float)


@lru_cache(maxsize=1)
def resampled(count: int, seed: int) -> Float[ndarray, "m n"]:
    """The share that each of so many inputs has of every resample."""
    source, shares = np.random.default_rng(seed), np.empty((RESAMPLES, count))
    for row in shares:
        np.divide(np.bincount(source.integers(count, size=count), minlength=count), count, out=row)
    return shares


def gain(
    values: Float[ndarray, " n"], base: Float[ndarray, " n"] | None = None, seed: int = 0
) -> tuple[float, float, float]:
    """The mean of the values, over that of `base` where there is one, and its 95 % bootstrap interval over the inputs.

    Values and base are of the same inputs, which are drawn together. NaN where the base is 0; of fewer than `FEWEST`
    inputs there is no interval, and one has no end, infinity, where inputs with a base may well be missing.
    """
    shares = resampled(len(values), seed)
    over, means = (1.0, 1.0) if base is None else (base.mean(), shares @ base)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = shares @ values / means
        at = float(values.mean() / over)
    if not np.isfinite(at):
        return np.nan, np.nan, np.nan
    if len(values) < FEWEST:
        return at, np.nan, np.nan
    found = np.sort(found[~np.isnan(found)])
    reach = int(0.025 * (len(found) - 1))
    return at, float(found[reach]), float(found[-1 - reach])


def mean_interval(values: Float[ndarray, " n"]) -> tuple[float, float]:
    """The 95 % bootstrap interval of the mean; NaN of few values, and where all are the same: no resample differs."""
    return gain(values)[1:] if np.ptp(values) > 0 else (np.nan, np.nan)


@styled
def severity_figure(runs: Sequence[Run]) -> Figure:
    """Mean certified severities of every perturbation, one panel a sigma, one row a perturbation, largest first.

    Where isotropic noise of the same sigma, and inputs, is among the runs: how many times those of it the others are.
    Else as a share of the largest severity of an input. Intervals: 95 % bootstrap over the inputs; an arrow is the end
    of one that has none.
    """
    names = list(dict.fromkeys(name for run in runs for name in measured(run.records)))
    sigmas, look = sorted({run.sigma for run in runs}), looks(runs)
    groups = [[run for run in runs if run.sigma == sigma] for sigma in sigmas]
    figure, axes = a_row_each(len(groups), height=0.7 + 0.21 * len(names))
    for panel, members in zip(axes, groups, strict=True):
        base = baseline_of(members)
        compared = [run for run in members if run is not base and same_inputs(run, base)]
        if base.method == "rs" and compared:
            found = {run: {name: _against(run, base, name) for name in names} for run in compared}
            panel.axvline(1, color=SOFT, linewidth=1, zorder=0)
            panel.set_xscale("log")
            panel.xaxis.set_major_formatter("{x:g}")
            panel.xaxis.set_minor_locator(NullLocator())
            panel.set_xlabel("times the certified severity of RS", loc="right")
        else:
            found = {run: {name: _of_largest(run, name) for name in names} for run in members}
            panel.set_xlabel("mean certified severity, as a share of the largest of an input", loc="right")
        means = {name: [values[name][0] for values in found.values()] for name in names}
        ends = np.array([values[name] for values in found.values() for name in names])
        edge = 2 * ends[np.isfinite(ends)].max(initial=1.0)  # where an interval that has no end is cut off
        order = sorted(names, key=lambda name: np.nan_to_num(np.mean(means[name]), nan=-1.0))
        for place, (run, values) in enumerate(found.items()):
            at, low, high = np.array([values[name] for name in order]).T
            rows = np.arange(len(order)) + 0.5 * (place - (len(found) - 1) / 2) / len(found)
            color = look[run]["color"] if len(runs) > 1 else PALETTE[0]
            panel.hlines(rows, low, np.minimum(high, edge), color=color, linewidth=1.4, alpha=0.7)
            panel.plot(np.where(high > edge, edge, np.nan), rows, ">", color=color, markersize=4)
            panel.plot(at, rows, "o", color=color, markersize=4, label=look[run]["label"])
        panel.set_yticks(range(len(order)), [_row([*found], name) for name in order])
        panel.set_ylim(-0.8, len(order) - 0.2)
        panel.tick_params(axis="y", labelsize="small")
        panel.grid(visible=False, axis="x")
        low, high = panel.get_xlim()
        if panel.get_xscale() == "log":
            panel.xaxis.set_major_locator(MaxNLocator(4) if high < 6 * low else FixedLocator(TIMES))
        if len(sigmas) > 1:
            panel.set_title(rf"$\sigma$ = {members[0].sigma:g}")
    name_below(figure)
    return figure


def _row(shown: Sequence[Run], name: str) -> str:
    """The name of a row, and where it stands for one run what its mean is."""
    holding = [run for run in shown if severity_column(name) in run.records]
    told = told_name(name, (run.records for run in holding))
    if len(shown) > 1 or not holding:
        return told
    return f"{told}  {round_down(float(held(holding[0].records, name).mean()))} {unit_of(name)}".rstrip()


def _against(run: Run, base: Run, name: str) -> tuple[float, float, float]:
    if not all(severity_column(name) in each.records for each in (run, base)):
        return np.nan, np.nan, np.nan
    first, second = (held(each.records, name)[each.records["index"].to_numpy().argsort()] for each in (run, base))
    return gain(first, second)


def _of_largest(run: Run, name: str) -> tuple[float, float, float]:
    if severity_column(name) not in run.records:
        return np.nan, np.nan, np.nan
    values = held(run.records, name)
    return gain(values / (values.max() or 1.0))
