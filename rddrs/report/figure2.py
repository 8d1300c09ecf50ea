"""The paper's figure 2: certified accuracy of every method at every noise level, and what regions hold of a ball."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy import ndarray

from rddrs.report.curves import RADIUS_NAMES, draw_shares
from rddrs.report.style import looks, panels, styled
from rddrs.report.tables import LOW_FIDELITY, Run, evenly
from rddrs.rounding import round_down

VACUOUS = {"color": "#9a9a9a", "linestyle": (0, (2, 1.5))}
"""How a curve is drawn whose fidelity is below 0.9."""

POINTS = 64
"""Points of a ball in which the share inside a region is counted."""


@styled
def paper_figure(runs: Sequence[Run]) -> Figure:
    """Certified accuracy of runs of one network, a column for every sigma: by proxy radius, as in the paper, by ball.

    Below them the share of the ball B_2(x, R) that lies inside the certified region, the mean over inputs. The legends
    have fidelity and, of runs with fewer inputs than others, their number; below a fidelity of 0.9 a curve is grey and
    dashed. Bands: 95 % Clopper-Pearson.
    """
    sigmas, look = sorted({run.sigma for run in runs}), looks(runs)
    figure, axes = panels(len(sigmas), 3, width=4.6, height=3.6)
    most = max(len(run.records) for run in runs)
    for column, sigma in zip(axes.T, sigmas, strict=True):
        members = [run for run in runs if run.sigma == sigma]
        for run in members:
            fidelity = float(run.records["fidelity"].to_numpy().mean())
            few = f", {len(run.records)} inputs" if len(run.records) < most else ""
            own = look[run] | (VACUOUS if fidelity < LOW_FIDELITY else {})
            own |= {"label": f"{look[run]['label']} ({round_down(fidelity, 2)}{few})"}
            for panel, name in zip(column, ("proxy_radius", "ball_radius"), strict=False):
                draw_shares(panel, np.where(run.records["correct"], run.records[name], -1.0), **own)
            draw_inside(column[2], run, **own)
        column[0].set(title=rf"$\sigma$ = {sigma:g}", xlabel=RADIUS_NAMES["proxy_radius"])
        column[1].set_xlabel(RADIUS_NAMES["ball_radius"])
        column[2].set_xlabel(r"$R$")
        for panel in (column[0], column[2]):
            to_scale(panel)
        column[1].legend(loc="lower left", fontsize="x-small", title="fidelity in brackets", title_fontsize="x-small")
    for panel in axes[:2, 0]:
        panel.set_ylabel("certified accuracy")
    axes[2, 0].set_ylabel(r"share of $B_2(x, R)$ that is certified")
    return figure


def draw_inside(axes: Axes, run: Run, count: int = 100, **look) -> None:
    """The mean share of B_2(x, R) inside the certified region, of at most `count` evenly spaced inputs."""
    reaches = np.sort(np.concatenate([inside(run, index) for index in evenly(run.records, count)]))
    radii = np.linspace(0, max(0.1, 1.05 * reaches[-1]), 400)
    axes.plot(radii, 1 - np.searchsorted(reaches, radii, side="left") / len(reaches), **look)
    axes.set_ylim(0, 1.02)


def to_scale(axes: Axes) -> None:
    """A logarithmic axis where one curve ends ten times as far out as another, else one from 0."""
    ends = [float(np.max(np.asarray(line.get_xdata(), dtype=float))) for line in axes.lines]
    if max(ends) > 10 * min(ends) > 0:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlim(min(ends) / 5, 1.1 * max(ends))
    else:
        axes.set_xlim(0, max(ends))


def inside(run: Run, index: int) -> Float[ndarray, " n"]:
    """The radii R up to which points of B_2(x, R), drawn uniformly for R = 1, stay inside the region of an input.

    The share of B_2(x, R) inside is that of the radii that are at least R: the region is convex around x. All of
    them are -1 of an input that is wrong or abstained.
    """
    record = run.records.set_index("index").loc[index]
    scale = run.load(index)[1]
    if not record["correct"]:
        return np.full(POINTS, -1.0)
    source = torch.Generator().manual_seed(index)
    points = torch.randn(POINTS, scale.dim, generator=source, dtype=torch.float64)
    length = torch.rand(POINTS, 1, generator=source, dtype=torch.float64) ** (1 / scale.dim)
    points *= length / points.norm(dim=1, keepdim=True)
    whitened = scale.whiten(points.float()).double().norm(dim=1)
    return float(record["radius"]) / whitened.numpy()
