"""Logs of the literature beside one's own runs: certified accuracy by l2 radius, and its mean."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.table import Table

from rddrs.report.curves import draw_shares
from rddrs.report.style import PALETTE, panels, styled
from rddrs.report.tables import certified_accuracy
from rddrs.rounding import round_down

RADII = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
"""Where the literature states the certified accuracy."""


def log_summary(curves: Mapping[str, pd.DataFrame]) -> list[dict[str, str | int | float]]:
    """A row a log: inputs, the average certified radius, and the certified accuracy at radii of the literature.

    A log has the columns `radius`, in the input's units, and `correct`. The ACR of one with infinite radii is infinite.
    Raises ValueError where a column `norm` says that its radii are not of l2, as those of the literature are.
    """
    rows = []
    for name, log in curves.items():
        if "norm" in log and set(log["norm"]) != {"l2"}:
            raise ValueError(f"logs: the radii of {name} are of {log['norm'].iloc[0]}, those of logs of l2")
        shares = certified_accuracy(log, RADII, "radius")
        acr = float(np.where(log["correct"], log["radius"], 0.0).mean())
        accuracy = {f"certified_at_{radius:g}": float(share) for radius, share in zip(RADII, shares, strict=True)}
        rows.append({"log": name, "inputs": len(log), "acr": acr} | accuracy)
    return rows


def log_table(summary: pd.DataFrame) -> Table:
    """The summary for a terminal, rounded down."""
    table = Table("log", "inputs", "ACR", *(f"{radius:g}" for radius in RADII), box=SIMPLE_HEAD, padding=0)
    for row in summary.to_dict("records"):
        name, inputs, acr, *shares = row.values()
        table.add_row(name, str(inputs), "inf" if np.isinf(acr) else round_down(acr), *map(round_down, shares))
    return table


@styled
def log_figure(curves: Mapping[str, pd.DataFrame]) -> Figure:
    """Certified accuracy against the l2 radius; infinite radii lie at the right edge."""
    figure, axes = panels(1, width=6)
    values = {name: np.where(log["correct"], log["radius"], -1.0) for name, log in curves.items()}
    edge = 1.05 * max(0.1, *(it[np.isfinite(it)].max(initial=0.0) for it in values.values()))
    for (name, radii), color in zip(values.items(), PALETTE * len(curves), strict=False):
        draw_shares(axes[0, 0], np.minimum(radii, edge), color=color, label=name)
    axes[0, 0].set_xlabel("l2 radius")
    axes[0, 0].set_ylabel("certified accuracy")
    axes[0, 0].legend(loc="upper right")
    return figure
