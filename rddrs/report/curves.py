"""Certified accuracy against a radius: curves that fall to 0, each named where it ends."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, NullLocator
from numpy import ndarray

from rddrs.report.style import PALETTE, SOFT, a_row_each, looks, name_below, styled
from rddrs.report.tables import Run, baseline_of, confidence_band, of_a_kind, probabilities, share_at_least

RADIUS_NAMES = {
    "ball_radius": r"ball radius  $\rho\,\lambda_{\min}$",
    "proxy_radius": r"proxy radius  $\rho\,\det(C)^{1/d}$",
}


def draw_shares(axes: Axes, values: Float[ndarray, " n"], band: bool = True, **look) -> None:
    """The share of inputs whose value is at least r, exactly, with its 95 % band; a negative value never counts."""
    radii = np.unique([0.0, *values[values >= 0]])
    share = share_at_least(values, radii)
    if band:
        lower, upper = confidence_band(share, len(values))
        axes.fill_between(radii, lower, upper, step="pre", alpha=0.15, linewidth=0, color=look["color"])
    # Beyond the largest value the share is 0: the curve falls there.
    axes.plot([*radii, radii[-1]], [*share, 0.0], drawstyle="steps-pre", **look)
    axes.set_xlim(0, max(0.1, 1.05 * radii[-1], axes.get_xlim()[1] if len(axes.lines) > 1 else 0))
    axes.set_ylim(0, 1.02)


def name_ends(axes: Axes) -> None:
    """The name of every curve beside the place where it falls to 0, the further to the right the lower.

    It stands to the right, where the curve is no more; a long one, for which there is no room, where there is more.
    """
    right = axes.get_xlim()[1]
    named = [line for line in axes.lines if not str(line.get_label()).startswith("_")]
    ends = sorted(named, key=lambda line: -np.max(np.asarray(line.get_xdata(), dtype=float)))
    for level, line in enumerate(ends):
        end, height = float(np.max(np.asarray(line.get_xdata(), dtype=float))), 0.07 + 0.085 * level
        color: Any = line.get_color()
        room = (6 * len(str(line.get_label())) + 6) / 270  # points of the name, and of the axis
        is_right = room < 0.3 or end < right / 2
        right = max(right, end / (1 - room)) if room < 0.3 else right
        axes.plot([end, end], [0, height - 0.01], color=color, linewidth=0.8, linestyle=":", zorder=1, label="_end")
        axes.annotate(
            str(line.get_label()), (end, height), (3 if is_right else -3, 0), textcoords="offset points",
            ha="left" if is_right else "right", color=color, fontsize="small", fontweight="bold",
            path_effects=[withStroke(linewidth=3, foreground="white")], annotation_clip=False,
        )  # fmt: skip
    axes.set_xlim(0, right)


def are_balls(records: pd.DataFrame) -> bool:
    """Whether every region is a ball, so that both radii are one."""
    return np.allclose(records["ball_radius"], records["proxy_radius"], rtol=1e-6)


def _certified(run: Run, column: str) -> Float[ndarray, " n"]:
    return np.where(run.records["correct"], run.records[column], -1.0)


@styled
def accuracy_figure(run: Run, isotropic: Run | None = None) -> Figure:
    """Certified accuracy of one run against ball radius and proxy radius, beside that under isotropic noise."""
    figure, (axes,) = a_row_each(1, height=3.3)
    curves = {"ball": _certified(run, "ball_radius"), "proxy": _certified(run, "proxy_radius")}
    if are_balls(run.records):
        curves = {"ball and proxy": curves["ball"]}
    for (name, values), color in zip(curves.items(), PALETTE, strict=False):
        draw_shares(axes, values, color=color, label=name)
    if isotropic is not None:
        draw_shares(axes, _certified(isotropic, "ball_radius"), False, color=SOFT, label="RS", linestyle="--")
    name_ends(axes)
    axes.set(xlabel="radius", ylabel="certified accuracy")
    return figure


@styled
def comparison_figure(runs: Sequence[Run], column: str | None = None) -> Figure:
    """Certified accuracy, a panel for every sigma, norm and radius, one line a run; of one radius with `column`.

    Regions of one kind that are all balls have one panel. The paper's figure 2. The band is that of the first run that
    is not the baseline.
    """
    look, panels = looks(runs), list[tuple[str, list[Run], str, str]]()
    for title, members in of_a_kind(runs).items():
        if column is None and all(are_balls(run.records) for run in members):
            panels.append((title, members, "ball_radius", "radius, ball and proxy"))
        else:
            panels += [(title, members, each, RADIUS_NAMES[each]) for each in ([column] if column else RADIUS_NAMES)]
    figure, axes = a_row_each(len(panels), height=2.9)
    for panel, (title, members, each, name) in zip(axes, panels, strict=True):
        chosen = banded(members)
        for run in members:
            draw_shares(panel, _certified(run, each), run is chosen, **look[run])
        name_ends(panel)
        panel.set(title=title, xlabel=name, ylabel="certified accuracy")
    return figure


@styled
def probability_figure(runs: Sequence[Run]) -> Figure:
    """The empirical cumulative distribution of p_A, 0 where the answer is wrong or abstained, a panel a sigma and norm.

    What a curve begins with at 1/2 is not certified. The band, as that of `comparison_figure`, is 95 %.
    """
    kinds, look = of_a_kind(runs), looks(runs)
    figure, axes = a_row_each(len(kinds), height=2.9)
    for panel, (title, members) in zip(axes, kinds.items(), strict=True):
        for run in members:
            values = np.clip(probabilities(run.records), 0.5, ONE)
            panel.ecdf(values, **look[run])
            if run is banded(members):
                places, counts = np.unique(values, return_counts=True)
                lower, upper = confidence_band(counts.cumsum() / len(values), len(values))
                panel.fill_between(places, lower, upper, step="post", alpha=0.15, linewidth=0, color=look[run]["color"])
        panel.set_xscale("logit")
        panel.set(xlim=(0.5, ONE), ylim=(0, 1.02), title=title)
        panel.set(xlabel="lower bound of $p_A$", ylabel="share of inputs up to it")
        panel.xaxis.set_major_locator(FixedLocator([0.5, 0.9, 0.99, 0.999, 0.9999]))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_locator(NullLocator())
    name_below(figure)
    return figure


ONE = 0.99999
"""Where the axis of p_A ends; bounds that are above it stand there."""


def banded(runs: Sequence[Run]) -> Run:
    """The run of one sigma that has a band: the first that is not the baseline, where there is another."""
    base = baseline_of(runs)
    return next((run for run in runs if run is not base), base)
