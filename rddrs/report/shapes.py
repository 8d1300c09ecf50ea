"""What regions look like: their axes beside the input, and the regions themselves in the plane."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from numpy import ndarray

from rddrs.noise import Diagonal, family_of
from rddrs.pictures.images import brightness, covariance_map, noise_limits, noise_map, picture, principal_axes
from rddrs.report.style import PALETTE, PASTEL, looks, panels, places_for, styled
from rddrs.report.tables import Run, labels
from rddrs.smoothing import Classifier


@styled
def eigenvector_figure(rows: Sequence[tuple[Run, int]], count: int = 3) -> Figure:
    """For each (run, index): the input, its noise, the covariance, the first and the last eigenvectors of C.

    All noise is on one colour scale, which a bar tells.
    """
    names = labels(list(dict.fromkeys(run for run, _ in rows)))
    first, index = rows[0]
    columns = 3 + min(2 * count, first.input(index).numel())
    figure, places = places_for(columns, len(rows), width=1.35, height=1.6)
    limits = max(noise_limits(run.input(index)) for run, index in rows)
    noises = []
    for number, (run, index) in enumerate(rows):
        x, scale = run.load(index)
        shown = brightness(x)
        if picture(shown) is None:
            shown = x.detach().double().cpu().numpy()
        noise = noise_map(scale)
        tiles = {
            0: (shown, "gray", (shown.min(), max(1.0, shown.max())), ""),
            1: (noise.reshape(x.shape), "Blues", limits, f"noise to {noise.max():.3g}"),
        }
        if (found := covariance_map(scale)) is not None:
            covariance, limit = found
            tiles[2] = (covariance, "RdBu_r", (-limit, limit), f"$C C$ to {limit:.3g}")
        for column, (rank, value, vector) in zip(range(3, columns), principal_axes(scale, count, count), strict=False):
            peak = np.abs(vector).max()
            tiles[column] = (vector.reshape(x.shape), "RdBu_r", (-peak, peak), rf"$\lambda_{{{rank}}}$ = {value:.3g}")
        told = {}
        if 3 not in tiles or isinstance(scale, Diagonal):
            empty = next(column for column in range(2, columns) if column not in tiles)
            told[empty] = "C is diagonal" if 3 in tiles else "C is a multiple of\nthe identity"
        # The layout needs a panel in every column, and no more that are empty.
        needed = range(columns) if number == 0 else sorted({*tiles, *told})
        row = {column: figure.add_subplot(places[number, column]) for column in needed}
        for column, panel in row.items():
            if column in tiles:
                _draw_vector(panel, *tiles[column])
            else:
                panel.set_axis_off()
            if column in told:
                panel.text(0, 0.5, told[column], va="center", in_layout=False)
        row[0].set_ylabel("\n".join([*names[run].split(), f"input {index}"]), fontsize="small")
        noises.append(row[1])
    if pictured := [panel.images[0] for panel in noises if panel.images]:
        ticks = np.geomspace(*limits, 3)
        bar = figure.colorbar(pictured[0], ax=noises[-1], location="bottom", label="noise", ticks=ticks, format="%g")
        bar.minorticks_off()
    return figure


def _draw_vector(
    axes: Axes, values: Float[ndarray, "*shape"], colors: str, limits: tuple[float, float], title: str
) -> None:
    """A picture where the values form one, of noise in equal steps of the logarithm, else one bar a coordinate."""
    image = picture(values)
    axes.set_title(title, fontsize="small", fontweight="normal")
    axes.grid(visible=False)
    axes.set(xticks=[], yticks=[])
    if image is None:
        axes.bar(range(values.size), values.ravel(), color=PALETTE[0], width=1)
        axes.set_ylim(min(values.min(), -0.02), 1.05 * max(values.max(), 0.02))
    elif image.ndim == 3 and colors == "gray":
        axes.imshow(image)
    else:
        image = image if image.ndim == 2 else image.mean(axis=2)
        norm = LogNorm(*limits) if colors == "Blues" else Normalize(*limits)
        axes.imshow(image.clip(*limits), cmap=colors, norm=norm)


@styled
def region_figure(classifier: Classifier, runs: Sequence[Run], index: int) -> Figure:
    """The decision regions of a classifier of the plane, one input, and its certified region by each run.

    The paper's figure 1. Runs that abstained are named in the legend and have no region. Raises ValueError for an
    input that has not two coordinates.
    """
    circle = torch.linspace(0, 2 * torch.pi, 361, dtype=torch.float64)
    circle = torch.stack([circle.cos(), circle.sin()], dim=1)
    figure, ((axes,),) = panels(1, width=5.4, height=5)
    x = runs[0].input(index)
    if x.numel() != 2:
        raise ValueError(f"decision regions are drawn in the plane; input {index} has {x.numel()} coordinates")
    center = x.detach().flatten().double().cpu()
    reach = 0.1
    for run, look in looks(runs).items():
        radius, norm = run.records.set_index("index").loc[index, ["radius", "norm"]]
        sphere = circle / family_of(norm).norm(circle)[:, None]
        edge = radius * run.load(index)[1].to("cpu").spread(sphere)
        reach = max(reach, edge.abs().max().item())
        if radius == 0:
            look["label"] += " (abstained)"
        axes.plot(*(center + edge).T.numpy(), **(look | {"linewidth": 2, "zorder": 3}))
    low, high = center - 1.35 * reach, center + 1.35 * reach
    sides = [torch.linspace(start, stop, 300) for start, stop in zip(low.tolist(), high.tolist(), strict=True)]
    grid = torch.stack(torch.meshgrid(*sides, indexing="xy"), dim=-1)
    with torch.inference_mode():
        answers = classifier(grid.reshape(-1, *x.shape).to(x)).argmax(dim=1).reshape(300, 300).cpu().numpy()
    classes = int(answers.max()) + 1
    axes.contourf(grid[..., 0], grid[..., 1], answers, levels=np.arange(classes + 1) - 0.5, colors=PASTEL, zorder=0)
    axes.plot(*center.numpy(), "o", color="black", markersize=5, zorder=4)
    axes.set_aspect("equal")
    axes.grid(visible=False)
    axes.set(xlabel=r"$x_1$", ylabel=r"$x_2$", title=f"input {index}")
    axes.legend(loc="upper left")
    return figure
