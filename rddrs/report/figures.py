"""Figures from records: each function returns a matplotlib Figure of its own; `style.save` writes it."""

import math
from collections.abc import Sequence
from itertools import cycle
from textwrap import fill

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from numpy import ndarray

from rddrs.certification import ABSTAIN
from rddrs.records.record import measured
from rddrs.report.curves import RADIUS_NAMES, accuracy_figure, are_balls, banded, comparison_figure, probability_figure
from rddrs.report.gains import severity_figure
from rddrs.report.shapes import eigenvector_figure
from rddrs.report.style import PALETTE, PANELS, SOFT, WIDTH, a_row_each, looks, name_below, panels, some, styled
from rddrs.report.tables import Run, alike, baseline_of, evenly, labels, of_a_kind, same_inputs, shared_inputs

LETTERS = 24
"""As many as stand beside a panel of half a page's column."""

OUTCOMES = {"correct": PALETTE[0], "wrong": PALETTE[3], "abstained": "#9a9a9a"}


def outcomes(records: pd.DataFrame) -> Sequence[str]:
    """What became of every input: correct, wrong or abstained."""
    answered = np.where(records["correct"], "correct", "wrong")
    return np.where(records["prediction"] == ABSTAIN, "abstained", answered).tolist()


def _panel_a_kind(runs: Sequence[Run], height: float = 3.4) -> tuple[Figure, list[tuple[Axes, list[Run]]]]:
    """One titled panel for every sigma and norm with the runs that belong in it."""
    kinds = of_a_kind(runs)
    figure, axes = a_row_each(len(kinds), height)
    for panel, title in zip(axes, kinds, strict=True):
        panel.set_title(title)
    return figure, list(zip(axes, kinds.values(), strict=True))


@styled
def histogram_figure(run: Run) -> Figure:
    """How many inputs have which ball radius and which proxy radius, where that is another, by outcome."""
    import seaborn as sns

    names = {"ball_radius": "radius, ball and proxy"} if are_balls(run.records) else RADIUS_NAMES
    figure, axes = a_row_each(len(names), height=2.4)
    found = outcomes(run.records)
    present = [outcome for outcome in OUTCOMES if outcome in found]
    bins = math.ceil(2 * len(found) ** (1 / 3))  # Rice: as many as the inputs bear
    for panel, (column, name) in zip(axes, names.items(), strict=True):
        values = run.records[column].to_numpy(float)
        sns.histplot(
            x=values,
            hue=found,
            hue_order=present,
            palette=[OUTCOMES[outcome] for outcome in present],
            multiple="stack",
            element="step",  # a patch an outcome: the layout looks at every patch
            bins=np.linspace(0, values.max() or 1.0, bins + 1).tolist(),
            alpha=1,
            edgecolor="white",
            linewidth=0.5,
            legend=panel is axes[0],
            ax=panel,
        )
        panel.set(xlabel=name, ylabel="inputs")
        panel.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        panel.grid(visible=False, axis="x")
    sns.move_legend(axes[0], "lower left", bbox_to_anchor=(0, 1), ncols=3, title=None, borderaxespad=0.2)
    return figure


def spectra(run: Run, count: int = 32) -> Float[ndarray, "n d"]:
    """The eigenvalues of C, descending, of at most `count` evenly spaced inputs."""
    return np.stack([run.load(index)[1].eigenvalues.flip(0).cpu().numpy() for index in evenly(run.records, count)])


@styled
def spectrum_figure(runs: Sequence[Run], count: int = 32) -> Figure:
    """The sorted eigenvalues of C, median over the inputs, one panel a sigma and norm, one line a run.

    The band, of one run a panel, is from 10 % to 90 % of the inputs.
    """
    figure, titled = _panel_a_kind(runs)
    look = looks(runs)
    for axes, members in titled:
        chosen = banded(members)
        for run in members:
            low, median, high = np.quantile(spectra(run, count), [0.1, 0.5, 0.9], axis=0)
            rank = np.arange(1, len(median) + 1)
            if run is chosen:
                axes.fill_between(rank, low, high, alpha=0.2, linewidth=0, color=look[run]["color"])
            axes.plot(rank, median, marker="o" if len(rank) <= 10 else None, **look[run])
        axes.set(yscale="log", xlabel="rank of the eigenvalue", ylabel=r"eigenvalue of $C$")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
        low, high = axes.get_ylim()
        axes.set(ylim=(low / 1.5, high * 1.5), xlim=(0.5, None))
    name_below(figure)
    return figure


@styled
def fidelity_figure(runs: Sequence[Run]) -> Figure:
    """Fidelity of every input against its proxy radius, a panel a sigma and norm: does a large region say much?"""
    figure, titled = _panel_a_kind(runs)
    look, names = looks(runs), labels(runs)
    markers = dict(zip(dict.fromkeys(names.values()), cycle("osD^vPX"), strict=False))
    for axes, members in titled:
        for run in members:
            x, y = (run.records[column].to_numpy(dtype=float) for column in ("proxy_radius", "fidelity"))
            _dots(axes, x, y, look[run]["color"], look[run]["label"], markers[names[run]])
        axes.axhline(1, color=SOFT, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
        axes.set(xlabel=RADIUS_NAMES["proxy_radius"], ylabel="fidelity (1: as good as RS)")
    name_below(figure)
    return figure


def _dots(
    axes: Axes, x: Float[ndarray, " n"], y: Float[ndarray, " n"], color: str, label: str, marker: str = "o"
) -> None:
    """Points that stay readable where they are many; vector files hold them as one small image."""
    size, alpha = (18, 0.75) if len(x) <= 500 else (4, 0.4)
    look = {"s": size, "alpha": alpha, "color": color, "marker": marker, "edgecolor": "white", "linewidth": 0.3}
    axes.scatter(x, y, **look, label=label, rasterized=True)


@styled
def scatter_figure(pairs: Sequence[tuple[Run, Run]], column: str = "proxy_radius") -> Figure:
    """A radius of every input under one run against another, a panel a pair; the line is where both are equal.

    Both axes are the same. Inputs are matched by their index. Raises ValueError where two runs have none in common.
    """
    columns = min(2, len(pairs))
    figure, axes = panels(columns, -(-len(pairs) // columns), width=WIDTH / columns, height=2.6 if columns > 1 else 4)
    names = labels([run for run in dict.fromkeys(run for pair in pairs for run in pair)])
    name = RADIUS_NAMES[column].split("  ")[0]
    for panel, (first, second) in zip(axes.flat, pairs, strict=False):
        both = first.records[["index", column]].merge(second.records, on="index", suffixes=("_first", ""))
        if both.empty:
            raise ValueError(f"{first.name} and {second.name} have no input in common")
        x, y = both[f"{column}_first"].to_numpy(), both[column].to_numpy()
        found, most = np.array(outcomes(both)), max(x.max(), y.max(), 0.1)
        panel.axline((0, 0), slope=1, color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
        for outcome, color in OUTCOMES.items():
            chosen = found == outcome
            if chosen.any():
                _dots(panel, x[chosen], y[chosen], color, outcome)
        panel.set(xlim=(-0.03 * most, 1.05 * most), ylim=(-0.03 * most, 1.05 * most), aspect="equal")
        panel.set_xlabel(fill(f"{name}, {names[first]}", LETTERS), fontsize="small")
        panel.set_ylabel(fill(f"{name}, {names[second]}", LETTERS), fontsize="small")
        panel.set_title(rf"$\sigma$ = {second.sigma:g}: larger on {100 * (y > x).sum() // len(x)}%", fontsize="small")
    for panel in axes.flat[len(pairs) :]:
        panel.set_axis_off()
    name_below(figure)
    return figure


def run_figures(run: Run, isotropic: Run | None = None) -> dict[str, Figure]:
    """The figures of one run, by the name that their files take, beside its counterpart under isotropic noise."""
    return {
        "certified_accuracy": accuracy_figure(run, isotropic),
        **({"severities": severity_figure([run, isotropic] if isotropic else [run])} if measured(run.records) else {}),
        "radii": histogram_figure(run),
        "confidence": probability_figure([run]),
        "fidelity": fidelity_figure([run]),
        "spectra": spectrum_figure([run]),
        "eigenvectors": eigenvector_figure([(run, index) for index in evenly(run.records, 3)]),
    }


def comparison_figures(runs: Sequence[Run]) -> dict[str, Figure]:
    """The figures of several runs, by the name that their files take.

    The scatter sets every run against the baseline of its kind, RS where it is there, where they share inputs; the
    eigenvectors are those of one input that all the runs of the first sigma share. Both show at most `PANELS` of them,
    evenly spaced.
    """
    pairs = []
    for members in of_a_kind(runs).values():
        base = baseline_of(members)
        pairs += [(base, run) for run in members if run is not base and shared_inputs([base, run])]
    pairs = some(pairs)
    members = some([run for run in runs if run.sigma == min(run.sigma for run in runs)])
    shared = shared_inputs(members)
    rows = [(run, shared[len(shared) // 2]) for run in members] if shared else []
    return {
        "certified_accuracy": comparison_figure(runs),
        "confidence": probability_figure(runs),
        **({"severities": severity_figure(runs)} if any(measured(run.records) for run in runs) else {}),
        **({"scatter": scatter_figure(pairs)} if pairs else {}),
        "fidelity": fidelity_figure(runs),
        "spectra": spectrum_figure(runs),
        **({"eigenvectors": eigenvector_figure(rows)} if rows else {}),
    }


def left_out(runs: Sequence[Run]) -> list[str]:
    """What `comparison_figures` does not show of the runs, a sentence each."""
    found, names = [], labels(runs)
    if len(told := {*names.values()}) > PANELS:
        found.append(
            f"Figures name {PANELS} of {len(told)} runs, evenly spaced: the others are grey, the tables have all."
        )
    if len({*alike(runs)}) > len({run.sigma for run in runs}):
        found.append(
            "Tables: not all runs of a sigma have the same inputs, and radii of one norm; the best is marked among "
            "those that have."
        )
    bases = {run: baseline_of(members) for members in of_a_kind(runs).values() for run in members}
    for run in runs:
        base, told = baseline_of([it for it in runs if it.sigma == run.sigma]), f"{names[run]} at sigma {run.sigma:g}"
        if base.method == "rs" and measured(run.records) and not same_inputs(run, base):
            found.append(f"Severities: {told} is not set against RS, which has other inputs.")
        if not shared_inputs([bases[run], run]):
            found.append(f"Scatter: {told} has no input in common with {names[bases[run]]}.")
    return found


CAPTIONS = {
    "certified_accuracy": "Share of inputs that are right and certified up to the radius. Ball: no change of that "
    "length changes the answer. Proxy: the ball with the region's volume. Bands: 95 % Clopper-Pearson, a radius each.",
    "confidence": "Share of inputs whose lower bound of p_A, the probability of the right class under noise, is at "
    "most so much; what begins above 0 is wrong or abstained. A mean radius rewards the easy inputs, at the right.",
    "severities": "Mean certified severity of named perturbations, 0 where the answer is wrong, largest first. "
    "Lines: 95 % bootstrap intervals over the inputs, of ten or more; an arrow where one has no end.",
    "radii": "How many inputs have which radius. Abstentions have radius 0.",
    "spectra": "Eigenvalues of the noise scale C, sorted: median over inputs, band from 10 % to 90 %.",
    "fidelity": "Accuracy of the smoothed classifier on other inputs, relative to isotropic noise, against the size of "
    "the region. Far below 1, a large region only says that the classifier ignores its input.",
    "scatter": "Every input under two runs. Above the dashed line the second has the larger region. At most 12 pairs.",
    "eigenvectors": "The input, the standard deviation of the noise in every coordinate on one scale, the covariance "
    "C C where C is not diagonal, the longest and shortest axes of the region (eigenvectors of C). At most 12 runs.",
    "paths": "Share of inputs that are right and certified from nothing to each severity, all between included, beside "
    "the network's accuracy without noise at it.",
    "contact_sheet": "One input at nothing, a half, all and twice the severity that is certified for it, for each "
    "perturbation that the scale is aimed at, as a screen shows it.",
    "regions": "Decision regions of the classifier, the input, and the region that each run certifies.",
}
"""What each figure shows, in a sentence or two."""
