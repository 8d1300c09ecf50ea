"""One style for all figures, and how they are written.

No figure is registered with pyplot, so that nothing has to be closed and no display is needed.
Seaborn, which takes half a second to import, is imported where it draws.
"""

import io
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy import ndarray

from rddrs.files import replacing
from rddrs.report.tables import Run, labels

PALETTE = ["#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc"]
PALETTE += ["#ca9161", "#fbafe4", "#949494", "#ece133", "#56b4e9"]
"""Seaborn's "colorblind": apart for whoever does not see red and green apart, too."""
PASTEL = ["#a1c9f4", "#ffb482", "#8de5a1", "#ff9f9b", "#d0bbff", "#debb9b", "#fab0e4", "#cfcfcf", "#fffea3", "#b9f2f0"]
"""The same, for grounds."""
SOFT = "#6b6b6b"
DASHES = ["-", (0, (6, 2)), (0, (6, 2, 1, 2)), (0, (1, 1.2)), (0, (9, 2, 1, 2, 1, 2)), (0, (3, 1))]

WIDTH = 4.6
"""Inches."""

_P = ParamSpec("_P")


STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 10.2,
    "axes.labelsize": 10.2,
    "axes.titlesize": 10.2,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": "#888888",
    "axes.labelcolor": ".15",
    "axes.linewidth": 1.25,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "text.color": ".15",
    **{f"{axis}.{key}": it for axis in ("xtick", "ytick") for key, it in (("color", ".15"), ("labelsize", 9.35))},
    "xtick.bottom": False,
    "ytick.left": False,
    "lines.solid_capstyle": "round",
    "legend.edgecolor": "none",
    "legend.fontsize": 9.35,
    "svg.hashsalt": "rddrs",
}
"""Matplotlib's settings."""


def styled(draw: Callable[_P, Figure]) -> Callable[_P, Figure]:
    """A function that draws in the project's style, wherever it is called from."""

    @wraps(draw)
    def styled(*args: _P.args, **kwargs: _P.kwargs) -> Figure:
        with mpl.rc_context(STYLE):
            figure = draw(*args, **kwargs)
            # Every solution of the layout moves it a little: it is solved once, so that all files of a figure agree.
            if (layout := figure.get_layout_engine()) is not None:
                layout.execute(figure)
            figure.set_layout_engine(None)  # "none" would leave one that does nothing, for which all is drawn twice
            return figure

    return styled


def save(figure: Figure, path: Path) -> tuple[Path, Path]:
    """Write `path`.svg (vectors) and `path`.png; the same figure gives the same bytes. `path` has no suffix."""
    vector, image = path.with_name(f"{path.name}.svg"), path.with_name(f"{path.name}.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(vector) as part:
        part.write_bytes(vector_bytes(figure))
    with mpl.rc_context(STYLE), replacing(image) as part:
        figure.savefig(part, format="png", dpi=150)
    return vector, image


def vector_bytes(figure: Figure) -> bytes:
    """The figure as SVG."""
    with mpl.rc_context(STYLE), io.BytesIO() as buffer:
        figure.savefig(buffer, format="svg", metadata={"Date": None})
        return buffer.getvalue()


def a_row_each(count: int, height: float = 3.4) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels below each other, as wide as a page's column and a telephone: readable on both."""
    figure, axes = panels(1, count, WIDTH, height)
    return figure, [*axes[:, 0]]


def name_below(figure: Figure) -> None:
    """One legend below all panels, of what is named in any of them, where that is more than one thing.

    Long names stand in fewer columns; for every row but the first the figure becomes higher.
    """
    named = {name: mark for panel in figure.axes for mark, name in zip(*panel.get_legend_handles_labels(), strict=True)}
    if len(named) > 1:
        points = 72 * figure.get_figwidth()
        fitting = int(points // (5.5 * max(map(len, named)) + 38))  # of a name's letters, its mark and the space around
        columns = min(3, max(1, fitting))
        figure.set_figheight(figure.get_figheight() + 0.19 * (-(-len(named) // columns) - 1))
        figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=columns, fontsize="small")


def looks(runs: Sequence[Run]) -> dict[Run, dict]:
    """Colour, dashes and label of every run; runs of one label look alike in all panels.

    At most `PANELS` labels are told apart, evenly spaced: names of more would cover the figure. Others are thin and
    grey, and their label begins with an underscore, which no legend shows.
    """
    names = labels(runs)
    order = some(list(dict.fromkeys(names.values())))
    look = {
        name: {"label": name, "color": PALETTE[place % len(PALETTE)], "linestyle": DASHES[place % len(DASHES)]}
        for place, name in enumerate(order)
    }
    faint = {"color": "#cccccc", "linestyle": "-", "linewidth": 0.8, "zorder": 1.5}
    return {run: dict(look.get(name) or {"label": f"_{name}", **faint}) for run, name in names.items()}


PANELS = 12
"""Runs that a figure of pictures or of pairs shows at most, and that any figure names: more are not looked at."""


def some(found: list[Any]) -> list[Any]:
    """At most `PANELS` of these, evenly spaced, the first and the last among them."""
    chosen = np.linspace(0, len(found) - 1, min(PANELS, len(found))).round().astype(int)
    return [found[place] for place in chosen]


def panels(columns: int, rows: int = 1, width: float = 4.4, height: float = 3.4, **grid) -> tuple[Figure, ndarray]:
    """A figure of rows x columns panels, width x height inches each; the panels always come as a 2-D array."""
    figure, places = places_for(columns, rows, width, height)
    return figure, places.subplots(squeeze=False, **grid)


def places_for(columns: int, rows: int, width: float, height: float) -> tuple[Figure, GridSpec]:
    """A figure with places for so many panels, none of which is made yet: making one takes milliseconds."""
    figure = Figure(figsize=(width * columns, height * rows), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08))
    return figure, figure.add_gridspec(rows, columns)
