"""Figures from records: each function returns a matplotlib Figure of its own; `style.save` writes it."""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import cycle

import numpy as np
import pandas as pd
import seaborn as sns
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from numpy import ndarray

from rddrs.certification import ABSTAIN
from rddrs.report.shapes import eigenvector_figure
from rddrs.report.style import PALETTE, looks, panels, styled
from rddrs.report.tables import Run, confidence_band, labels, share_at_least

OUTCOMES = {"correct": PALETTE[0], "wrong": PALETTE[3], "abstained": "#9a9a9a"}
RADIUS_NAMES = {
    "proxy_radius": r"proxy radius  $\rho\,\det(C)^{1/d}$",
    "ball_radius": r"ball radius  $\rho\,\lambda_{\min}$",
}


def outcomes(records: pd.DataFrame) -> Sequence[str]:
    """What became of every input: correct, wrong or abstained."""
    answered = np.where(records["correct"], "correct", "wrong")
    return np.where(records["prediction"] == ABSTAIN, "abstained", answered).tolist()


def _panel_a_sigma(runs: Sequence[Run], **grid) -> tuple[Figure, list[tuple[Axes, list[Run]]]]:
    """One titled panel for every sigma, ascending, with the runs that belong in it."""
    sigmas = sorted({run.sigma for run in runs})
    figure, axes = panels(len(sigmas), width=4.4 if len(sigmas) > 1 else 6, **grid)
    for panel, sigma in zip(axes[0], sigmas, strict=True):
        panel.set_title(rf"$\sigma$ = {sigma:g}")
    return figure, [
        (panel, [run for run in runs if run.sigma == sigma]) for panel, sigma in zip(axes[0], sigmas, strict=True)
    ]


def draw_shares(axes: Axes, values: Float[ndarray, " n"], **look) -> None:
    """The share of inputs whose value is at least r, exactly, with its 95 % band; a negative value never counts."""
    radii = np.unique([0.0, *values[values >= 0]])
    share = share_at_least(values, radii)
    lower, upper = confidence_band(share, len(values))
    axes.fill_between(radii, lower, upper, step="pre", alpha=0.15, linewidth=0, color=look["color"])
    # Beyond the largest value the share is 0: the curve falls there.
    axes.plot([*radii, radii[-1]], [*share, 0.0], drawstyle="steps-pre", **look)
    axes.set_xlim(0, max(0.1, 1.05 * radii[-1], axes.get_xlim()[1] if len(axes.lines) > 1 else 0))
    axes.set_ylim(0, 1.02)


def _certified(run: Run, column: str) -> Float[ndarray, " n"]:
    return np.where(run.records["correct"], run.records[column], -1.0)


@styled
def accuracy_figure(run: Run) -> Figure:
    """Certified accuracy of one run against proxy radius and against ball radius."""
    figure, axes = panels(2, sharey=True)
    for panel, (column, name) in zip(axes[0], RADIUS_NAMES.items(), strict=True):
        draw_shares(panel, _certified(run, column), color=PALETTE[0])
        panel.set_xlabel(name)
    axes[0, 0].set_ylabel("certified accuracy")
    return figure


@styled
def histogram_figure(run: Run) -> Figure:
    """How many inputs have which proxy radius and which ball radius, by outcome."""
    figure, axes = panels(2)
    found = outcomes(run.records)
    present = [outcome for outcome in OUTCOMES if outcome in found]
    for panel, (column, name) in zip(axes[0], RADIUS_NAMES.items(), strict=True):
        sns.histplot(
            x=run.records[column].to_numpy(),
            hue=found,
            hue_order=present,
            palette=[OUTCOMES[outcome] for outcome in present],
            multiple="stack",
            bins=np.linspace(0, run.records[column].max() or 1.0, 31).tolist(),
            alpha=1,
            edgecolor="white",
            linewidth=0.5,
            legend=panel is axes[0, 0],
            ax=panel,
        )
        panel.set(xlabel=name, ylabel="inputs" if panel is axes[0, 0] else "")
        panel.grid(visible=False, axis="x")
    return figure


def evenly(records: pd.DataFrame, count: int) -> list[int]:
    """The indices of at most `count` inputs, evenly spaced over the records in the order of their index."""
    indices = np.sort(records["index"].to_numpy())
    chosen = np.linspace(0, len(indices) - 1, min(count, len(indices))).round().astype(int)
    return indices[chosen].tolist()


def spectra(run: Run, count: int = 32) -> Float[ndarray, "n d"]:
    """The eigenvalues of C, descending, of at most `count` evenly spaced inputs."""
    return np.stack([run.load(index)[1].eigenvalues.flip(0).cpu().numpy() for index in evenly(run.records, count)])


@styled
def spectrum_figure(runs: Sequence[Run], count: int = 32) -> Figure:
    """The sorted eigenvalues of C: median and 10 % to 90 % band over the inputs, one panel a sigma, one line a run."""
    figure, titled = _panel_a_sigma(runs, sharey=True)
    look = looks(runs)
    for axes, members in titled:
        for run in members:
            low, median, high = np.quantile(spectra(run, count), [0.1, 0.5, 0.9], axis=0)
            rank = np.arange(1, len(median) + 1)
            axes.fill_between(rank, low, high, alpha=0.2, linewidth=0, color=look[run]["color"])
            axes.plot(rank, median, marker="o" if len(rank) <= 10 else None, **look[run])
        axes.set_yscale("log")
        axes.set_xlabel("rank of the eigenvalue")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.legend(loc="upper right")
    low, high = titled[0][0].get_ylim()
    titled[0][0].set_ylim(low / 1.5, high * 1.5)
    titled[0][0].set_ylabel(r"eigenvalue of $C$")
    return figure


@styled
def comparison_figure(runs: Sequence[Run], column: str = "proxy_radius") -> Figure:
    """Certified accuracy against a radius, one panel a sigma, one line a run (the paper's figure 2)."""
    return _share_figure(runs, column, "certified accuracy", _certified)


@styled
def ball_figure(runs: Sequence[Run]) -> Figure:
    """The share of inputs whose region holds the norm's ball of radius R, whatever their label, one panel a sigma."""

    def held(run: Run, column: str) -> Float[ndarray, " n"]:
        return np.where(run.records["prediction"] != ABSTAIN, run.records[column], -1.0)

    return _share_figure(runs, "ball_radius", r"share of regions that hold the ball", held)


def _share_figure(
    runs: Sequence[Run], column: str, ylabel: str, values: Callable[[Run, str], Float[ndarray, " n"]]
) -> Figure:
    figure, titled = _panel_a_sigma(runs, sharey=True)
    look = looks(runs)
    for axes, members in titled:
        for run in members:
            draw_shares(axes, values(run, column), **look[run])
        axes.set_xlabel(RADIUS_NAMES[column])
        axes.legend(loc="upper right")
    titled[0][0].set_ylabel(ylabel)
    return figure


@styled
def fidelity_figure(runs: Sequence[Run]) -> Figure:
    """Fidelity of every input against its proxy radius, one panel a sigma: does a large region still mean something?"""
    figure, titled = _panel_a_sigma(runs, sharey=True)
    look = looks(runs)
    markers = dict(zip(dict.fromkeys(labels(runs).values()), cycle("osD^vPX"), strict=False))
    for axes, members in titled:
        for run in members:
            x, y = (run.records[column].to_numpy(dtype=float) for column in ("proxy_radius", "fidelity"))
            _dots(axes, x, y, look[run]["color"], look[run]["label"], markers[look[run]["label"]])
        axes.axhline(1, color="#555555", linewidth=1, linestyle=(0, (4, 3)), zorder=0)
        axes.set_xlabel(RADIUS_NAMES["proxy_radius"])
    titled[0][0].set_ylabel("fidelity (1: as good as RS)")
    dots = {label: dot for axes, _ in titled for dot, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(dots.values(), dots.keys(), loc="outside lower center")
    figure.set_figheight(figure.get_figheight() + 0.2 * len(dots))
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

    Inputs are matched by their index. Raises ValueError where two runs have no input in common.
    """
    columns = min(3, max(Counter(second.sigma for _, second in pairs).values()))
    figure, axes = panels(columns, -(-len(pairs) // columns), height=4)
    names = labels([run for run in dict.fromkeys(run for pair in pairs for run in pair)])
    name = RADIUS_NAMES[column].split("  ")[0]
    for panel, (first, second) in zip(axes.flat, pairs, strict=False):
        both = first.records[["index", column]].merge(second.records, on="index", suffixes=("_first", ""))
        if both.empty:
            raise ValueError(f"{first.name} and {second.name} have no input in common")
        x, y = both[f"{column}_first"].to_numpy(), both[column].to_numpy()
        found = np.array(outcomes(both))
        panel.axline((0, 0), slope=1, color="#555555", linewidth=1, linestyle=(0, (4, 3)))
        for outcome, color in OUTCOMES.items():
            chosen = found == outcome
            if chosen.any():
                _dots(panel, x[chosen], y[chosen], color, outcome)
        right, top = max(x.max(), 0.1), max(y.max(), 0.1)
        panel.set(
            xlim=(-0.03 * right, 1.05 * right),
            ylim=(-0.03 * top, 1.05 * top),
            xlabel=f"{name}, {names[first]}",
            ylabel=f"{name}, {names[second]}",
            title=rf"$\sigma$ = {second.sigma:g}: larger on {(y > x).mean():.0%}",
        )
        panel.legend(loc="lower right", title=f"under {names[second]}")
    for panel in axes.flat[len(pairs) :]:
        panel.set_axis_off()
    return figure


def run_figures(run: Run) -> dict[str, Figure]:
    """The figures of one run, by the name that their files take."""
    return {
        "certified_accuracy": accuracy_figure(run),
        "radii": histogram_figure(run),
        "spectra": spectrum_figure([run]),
        "fidelity": fidelity_figure([run]),
        "eigenvectors": eigenvector_figure([(run, index) for index in evenly(run.records, 4)]),
    }


def comparison_figures(runs: Sequence[Run]) -> dict[str, Figure]:
    """The figures of several runs, by the name that their files take.

    The scatter sets every run against the first run of its sigma, where they share inputs; the eigenvectors are those
    of one input that all the runs of the first sigma share.
    """
    pairs = []
    for sigma in sorted({run.sigma for run in runs}):
        first, *others = (run for run in runs if run.sigma == sigma)
        pairs += [(first, run) for run in others if _shared([first, run])]
    members = [run for run in runs if run.sigma == min(run.sigma for run in runs)]
    shared = _shared(members)
    rows = [(run, shared[len(shared) // 2]) for run in members] if shared else []
    return {
        "certified_accuracy": comparison_figure(runs),
        "certified_accuracy_ball": comparison_figure(runs, "ball_radius"),
        "ball_coverage": ball_figure(runs),
        "fidelity": fidelity_figure(runs),
        "spectra": spectrum_figure(runs),
        **({"scatter": scatter_figure(pairs)} if pairs else {}),
        **({"eigenvectors": eigenvector_figure(rows)} if rows else {}),
    }


def _shared(runs: Sequence[Run]) -> list[int]:
    return sorted(set.intersection(*(set(run.records["index"].tolist()) for run in runs)))


CAPTIONS = {
    "certified_accuracy": "Share of inputs that are right and certified up to the radius. Bands: 95 % Clopper-Pearson.",
    "certified_accuracy_ball": "The same against the radius of the largest ball, in the run's norm, inside the region.",
    "ball_coverage": "Share of inputs, right or wrong, whose region holds the ball of that radius, in the run's norm.",
    "radii": "How many inputs have which radius. Abstentions have radius 0.",
    "spectra": "Eigenvalues of the noise scale C, sorted: median over inputs, band from 10 % to 90 %.",
    "fidelity": "Accuracy of the smoothed classifier on other inputs, relative to isotropic noise, against the size of "
    "the region. Far below 1, a large region only says that the classifier ignores its input.",
    "scatter": "Every input under two runs. Above the dashed line the second has the larger region.",
    "eigenvectors": "The input, the standard deviation of the noise in every coordinate, the covariance C C, and the "
    "longest and shortest axes of the region (eigenvectors of C).",
    "severities": "Share of inputs that are right and certified up to the severity of a named perturbation, of both "
    "signs where it has them; the fuller a line, the larger its sigma.",
    "paths": "Share of inputs that are right and certified from nothing to each severity, all between included, beside "
    "the network's accuracy without noise at it.",
    "contact_sheet": "One input at nothing, a half, all and twice the severity that is certified for it, for each "
    "perturbation that the scale is aimed at, as a screen shows it.",
    "regions": "Decision regions of the classifier, the input, and the region that each run certifies.",
}
"""What each figure shows, in a sentence."""
