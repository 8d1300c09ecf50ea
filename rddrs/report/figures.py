"""Figures from records: each function returns a matplotlib Figure of its own, and `save` writes it.

One style and one colour-blind safe palette for all. No figure is registered with pyplot, so that nothing has to be
closed and no display is needed.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import ParamSpec

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from numpy import ndarray

from rddrs.certify import ABSTAIN
from rddrs.report.images import brightness, noise_map, picture, principal_axes
from rddrs.report.tables import Run, confidence_band, labels, share_at_least
from rddrs.smoothing import Classifier

STYLE = {
    **sns.axes_style("whitegrid"),
    **sns.plotting_context("notebook", font_scale=0.85),
    "font.family": ["DejaVu Sans"],
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": "#888888",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#e4e4e4",
    "legend.frameon": False,
    "svg.hashsalt": "rddrs",
}
PALETTE = sns.color_palette("colorblind").as_hex()
DASHES = ["-", (0, (6, 2)), (0, (6, 2, 1, 2)), (0, (1, 1.2)), (0, (9, 2, 1, 2, 1, 2)), (0, (3, 1))]
OUTCOMES = {"correct": PALETTE[0], "wrong": PALETTE[3], "abstained": "#9a9a9a"}
RADIUS_NAMES = {
    "proxy_radius": r"proxy radius  $\rho\,\det(C)^{1/d}$",
    "ball_radius": r"ball radius  $\rho\,\lambda_{\min}$",
}

_P = ParamSpec("_P")


def _styled(draw: Callable[_P, Figure]) -> Callable[_P, Figure]:
    @wraps(draw)
    def styled(*args: _P.args, **kwargs: _P.kwargs) -> Figure:
        with mpl.rc_context(STYLE):
            return draw(*args, **kwargs)

    return styled


def save(figure: Figure, path: Path) -> tuple[Path, Path]:
    """Write `path`.svg (vectors) and `path`.png; the same figure gives the same bytes. `path` has no suffix."""
    vector, image = path.with_name(f"{path.name}.svg"), path.with_name(f"{path.name}.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE):
        figure.savefig(vector, metadata={"Date": None})
        figure.savefig(image, dpi=150)
    return vector, image


def outcomes(records: pd.DataFrame) -> Sequence[str]:
    """What became of every input: correct, wrong or abstained."""
    answered = np.where(records["correct"], "correct", "wrong")
    return np.where(records["prediction"] == ABSTAIN, "abstained", answered).tolist()


def _looks(runs: Sequence[Run]) -> dict[Run, dict]:
    """Colour, dashes and label of every run; runs of one label look alike in all panels."""
    names = labels(runs)
    order = list(dict.fromkeys(names.values()))
    return {
        run: {
            "label": name,
            "color": PALETTE[order.index(name) % len(PALETTE)],
            "linestyle": DASHES[order.index(name) % len(DASHES)],
        }
        for run, name in names.items()
    }


def _panels(columns: int, rows: int = 1, width: float = 4.4, height: float = 3.4, **grid) -> tuple[Figure, ndarray]:
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **grid)


def _panel_a_sigma(runs: Sequence[Run], **grid) -> tuple[Figure, list[tuple[Axes, list[Run]]]]:
    """One titled panel for every sigma, ascending, with the runs that belong in it."""
    sigmas = sorted({run.sigma for run in runs})
    figure, axes = _panels(len(sigmas), width=4.4 if len(sigmas) > 1 else 6, **grid)
    for panel, sigma in zip(axes[0], sigmas, strict=True):
        panel.set_title(rf"$\sigma$ = {sigma:g}")
    return figure, [
        (panel, [run for run in runs if run.sigma == sigma]) for panel, sigma in zip(axes[0], sigmas, strict=True)
    ]


def _draw_shares(axes: Axes, values: Float[ndarray, " n"], **look) -> None:
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


@_styled
def accuracy_figure(run: Run) -> Figure:
    """Certified accuracy of one run against proxy radius and against ball radius."""
    figure, axes = _panels(2, sharey=True)
    for panel, (column, name) in zip(axes[0], RADIUS_NAMES.items(), strict=True):
        _draw_shares(panel, _certified(run, column), color=PALETTE[0])
        panel.set_xlabel(name)
    axes[0, 0].set_ylabel("certified accuracy")
    return figure


@_styled
def histogram_figure(run: Run) -> Figure:
    """How many inputs have which proxy radius and which ball radius, by outcome."""
    figure, axes = _panels(2)
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


def spectra(run: Run, count: int = 50) -> Float[ndarray, "n d"]:
    """The eigenvalues of C, descending, of at most `count` evenly spaced inputs."""
    return np.stack(
        [run.load(index)[1].eigenvalues.flip(0).cpu().numpy() for index in evenly(run.records, count)]
    )


@_styled
def spectrum_figure(runs: Sequence[Run], count: int = 50) -> Figure:
    """The sorted eigenvalues of C: median and 10 % to 90 % band over the inputs, one panel a sigma, one line a run."""
    figure, panels = _panel_a_sigma(runs, sharey=True)
    looks = _looks(runs)
    for axes, members in panels:
        for run in members:
            low, median, high = np.quantile(spectra(run, count), [0.1, 0.5, 0.9], axis=0)
            rank = np.arange(1, len(median) + 1)
            axes.fill_between(rank, low, high, alpha=0.2, linewidth=0, color=looks[run]["color"])
            axes.plot(rank, median, marker="o" if len(rank) <= 10 else None, **looks[run])
        axes.set_yscale("log")
        axes.set_xlabel("rank of the eigenvalue")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.legend()
    low, high = panels[0][0].get_ylim()
    panels[0][0].set_ylim(low / 1.5, high * 1.5)
    panels[0][0].set_ylabel(r"eigenvalue of $C$")
    return figure


@_styled
def comparison_figure(runs: Sequence[Run], column: str = "proxy_radius") -> Figure:
    """Certified accuracy against a radius, one panel a sigma, one line a run (the paper's figure 2)."""
    return _share_figure(runs, column, "certified accuracy", _certified)


@_styled
def ball_figure(runs: Sequence[Run]) -> Figure:
    """The share of inputs whose region holds the l2 ball of radius R, whatever their label, one panel a sigma."""

    def held(run: Run, column: str) -> Float[ndarray, " n"]:
        return run.records[column].where(run.records["prediction"] != ABSTAIN, -1.0).to_numpy()

    return _share_figure(runs, "ball_radius", r"share of regions that hold the ball", held)


def _share_figure(
    runs: Sequence[Run], column: str, ylabel: str, values: Callable[[Run, str], Float[ndarray, " n"]]
) -> Figure:
    figure, panels = _panel_a_sigma(runs, sharey=True)
    looks = _looks(runs)
    for axes, members in panels:
        for run in members:
            _draw_shares(axes, values(run, column), **looks[run])
        axes.set_xlabel(RADIUS_NAMES[column])
        axes.legend()
    panels[0][0].set_ylabel(ylabel)
    return figure


@_styled
def fidelity_figure(runs: Sequence[Run]) -> Figure:
    """Fidelity of every input against its proxy radius, one panel a sigma: does a large region still mean something?"""
    figure, panels = _panel_a_sigma(runs, sharey=True)
    looks = _looks(runs)
    for axes, members in panels:
        for run in members:
            _dots(axes, run.records["proxy_radius"], run.records["fidelity"], looks[run]["color"], looks[run]["label"])
        axes.axhline(1, color="#555555", linewidth=1, linestyle=(0, (4, 3)), zorder=0)
        axes.set_xlabel(RADIUS_NAMES["proxy_radius"])
        axes.legend()
    panels[0][0].set_ylabel("fidelity (1: as good as RS)")
    return figure


def _dots(axes: Axes, x: pd.Series, y: pd.Series, color: str, label: str | None = None) -> None:
    """Points that stay readable where they are many; vector files hold them as one small image."""
    size, alpha = (18, 0.75) if len(x) <= 500 else (4, 0.4)
    axes.scatter(x, y, s=size, alpha=alpha, color=color, edgecolor="white", linewidth=0.3, label=label, rasterized=True)


@_styled
def scatter_figure(pairs: Sequence[tuple[Run, Run]], column: str = "proxy_radius") -> Figure:
    """A radius of every input under one run against another, a panel a pair; the line is where both are equal.

    Inputs are matched by their index. Raises ValueError where two runs have no input in common.
    """
    columns = min(3, max(Counter(second.sigma for _, second in pairs).values()))
    figure, axes = _panels(columns, -(-len(pairs) // columns), height=4)
    names = labels([run for run in dict.fromkeys(run for pair in pairs for run in pair)])
    for panel, (first, second) in zip(axes.flat, pairs, strict=False):
        both = first.records.merge(second.records, on="index", suffixes=("_x", "_y"))
        if both.empty:
            raise ValueError(f"{first.name} and {second.name} have no input in common")
        x, y = both[f"{column}_x"], both[f"{column}_y"]
        limit = max(x.max(), y.max(), 0.1) * 1.05
        panel.axline((0, 0), slope=1, color="#555555", linewidth=1, linestyle=(0, (4, 3)))
        for outcome, color in OUTCOMES.items():
            chosen = np.array(outcomes(both.rename(columns={"prediction_y": "prediction", "correct_y": "correct"})))
            mask = chosen == outcome
            if mask.any():
                _dots(panel, x[mask], y[mask], color, outcome)
        panel.set(
            xlim=(-0.02 * limit, max(x.max() * 1.05, 0.1)),
            ylim=(-0.02 * limit, max(y.max() * 1.05, 0.1)),
            xlabel=f"{RADIUS_NAMES[column].split('  ')[0]}, {names[first]}",
            ylabel=f"{RADIUS_NAMES[column].split('  ')[0]}, {names[second]}",
            title=rf"$\sigma$ = {second.sigma:g}: larger on {(y > x).mean():.0%}",
        )
        panel.legend(title=f"under {names[second]}")
    for panel in axes.flat[len(pairs) :]:
        panel.set_axis_off()
    return figure


@_styled
def eigenvector_figure(rows: Sequence[tuple[Run, int]], count: int = 3) -> Figure:
    """For each (run, index): the input, the noise in every coordinate, the first and the last eigenvectors of C."""
    names = labels(list(dict.fromkeys(run for run, _ in rows)))
    figure, axes = _panels(2 + 2 * count, len(rows), width=1.35, height=1.6)
    for panels, (run, index) in zip(axes, rows, strict=True):
        x, scale = run.load(index)
        shown = brightness(x)
        _draw_vector(panels[0], shown, "gray_r", (0, 1), "")
        panels[0].set_ylabel(f"{names[run]}\ninput {index}", fontsize="small")
        noise = noise_map(scale)
        _draw_vector(panels[1], noise.reshape(x.shape), "mako_r", (0, noise.max()), f"noise to {noise.max():.2g}")
        for panel, (rank, value, vector) in zip(panels[2:], principal_axes(scale, count, count), strict=False):
            peak = np.abs(vector).max()
            _draw_vector(panel, vector.reshape(x.shape), "vlag", (-peak, peak), rf"$\lambda_{{{rank}}}$ = {value:.2g}")
        for panel in panels:
            if not panel.has_data():
                panel.set_axis_off()
        if not panels[2].has_data():
            panels[2].text(0, 0.5, "C is a multiple of the identity: no axis is longer", va="center", in_layout=False)
    return figure


def _draw_vector(
    axes: Axes, values: Float[ndarray, "*shape"], colors: str, limits: tuple[float, float], title: str
) -> None:
    """A picture where the values form one, else one bar a coordinate."""
    image = picture(values)
    axes.set_title(title, fontsize="small", fontweight="normal")
    axes.grid(visible=False)
    axes.set(xticks=[], yticks=[])
    if image is None:
        axes.bar(range(values.size), values.ravel(), color=PALETTE[0], width=1)
        axes.set_ylim(min(limits[0], -0.02), limits[1] * 1.05)
    elif image.ndim == 3 and colors == "gray_r":
        axes.imshow(image)
    else:
        axes.imshow(image if image.ndim == 2 else image.mean(axis=2), cmap=colors, vmin=limits[0], vmax=limits[1])


@_styled
def region_figure(classifier: Classifier, runs: Sequence[Run], index: int) -> Figure:
    """The decision regions of a classifier of the plane, one input, and its certified region by each run.

    The paper's figure 1. Runs that abstained are named in the legend and have no region. Raises ValueError for an
    input that has not two coordinates.
    """
    circle = torch.linspace(0, 2 * torch.pi, 361, dtype=torch.float64)
    circle = torch.stack([circle.cos(), circle.sin()], dim=1)
    figure, ((axes,),) = _panels(1, width=5.4, height=5)
    x, _ = runs[0].load(index)
    if x.numel() != 2:
        raise ValueError(f"decision regions are drawn in the plane; input {index} has {x.numel()} coordinates")
    center = x.detach().flatten().double().cpu()
    reach = 0.1
    for run, look in _looks(runs).items():
        (radius,) = run.records.loc[run.records["index"] == index, "radius"]
        edge = radius * run.load(index)[1].to("cpu").noise(circle)
        reach = max(reach, edge.abs().max().item())
        if radius == 0:
            look["label"] += " (abstained)"
        axes.plot(*(center + edge).T.numpy(), **look, linewidth=2, zorder=3)
    low, high = center - 1.35 * reach, center + 1.35 * reach
    sides = [torch.linspace(start, stop, 300) for start, stop in zip(low.tolist(), high.tolist(), strict=True)]
    grid = torch.stack(torch.meshgrid(*sides, indexing="xy"), dim=-1)
    with torch.inference_mode():
        answers = classifier(grid.reshape(-1, *x.shape).to(x)).argmax(dim=1).reshape(300, 300).cpu().numpy()
    classes = int(answers.max()) + 1
    fills = sns.color_palette("pastel", max(classes, 3))
    axes.contourf(
        grid[..., 0], grid[..., 1], answers, levels=np.arange(classes + 1) - 0.5, colors=fills[:classes], zorder=0
    )
    axes.plot(*center.numpy(), "o", color="black", markersize=5, zorder=4)
    axes.set_aspect("equal")
    axes.grid(visible=False)
    axes.set(xlabel=r"$x_1$", ylabel=r"$x_2$", title=f"input {index}")
    axes.legend(loc="upper left", frameon=True, framealpha=0.85)
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
    "certified_accuracy_ball": "The same against the radius of the largest l2 ball inside the certified region.",
    "ball_coverage": "Share of inputs, right or wrong, whose certified region holds the l2 ball of that radius.",
    "radii": "How many inputs have which radius. Abstentions have radius 0.",
    "spectra": "Eigenvalues of the noise scale C, sorted: median over inputs, band from 10 % to 90 %.",
    "fidelity": "Accuracy of the smoothed classifier on other inputs, relative to isotropic noise, against the size of "
    "the region. Far below 1, a large region only says that the classifier ignores its input.",
    "scatter": "Every input under two runs. Above the dashed line the second has the larger region.",
    "eigenvectors": "The input, the standard deviation of the noise in every coordinate, and the longest and shortest "
    "axes of the region (eigenvectors of C).",
    "regions": "Decision regions of the classifier, the input, and the region that each run certifies.",
}
"""What each figure shows, in a sentence."""
