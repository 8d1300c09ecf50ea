"""What an audit found: a table and a figure."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.table import Table

from rddrs.certification import ABSTAIN
from rddrs.report.style import PALETTE, panels, styled
from rddrs.rounding import round_up


def audit_table(summary: dict[str, int | float], audits: pd.DataFrame) -> Table:
    """How many certificates were audited and broken, by which check, and what attacks outside the regions reached."""
    table = Table("audit", box=SIMPLE_HEAD)
    table.add_column("", justify="right")
    table.add_row("certificates", f"{summary['audited']} of {summary['inputs']}")
    table.add_row("broken", str(summary["broken"]))
    for flag, count in audits["flags"].str.split(", ").explode().value_counts().items():
        if flag:
            table.add_row(f"  by {flag}", str(count))
    table.add_row("expected if all are honest, at most", round_up(summary["expected_false_alarms"]))
    table.add_row("contradictions", str(summary["contradictions"]))
    table.add_row("pairs of classes that overlap", str(summary["overlaps"]))
    for name, share in outside_shares(audits).items():
        of = "radius" if name == "attack" else "certified severity"
        factor = audits["outside.factor"].max()
        table.add_row(f"{name.replace('_', ' ')} that succeeds at {factor:g} times the {of}", f"{share:.3f}")
    return table


def outside_shares(audits: pd.DataFrame) -> dict[str, float]:
    """The share of attacks outside of the regions that succeed: along each perturbation by its name, and any `attack`.

    Where no severity is certified there is nothing outside of it to try.
    """
    found = {}
    for column in audits.filter(regex=r"^(along\..*\.)?outside\.upper$"):
        distance = audits[column.replace(".upper", ".distance")].to_numpy(float)
        tried = audits[column].to_numpy(float)[(audits["prediction"].to_numpy() != ABSTAIN) & (distance > 0)]
        if len(tried):
            found[column.split(".")[1] if column.startswith("along") else "attack"] = float(np.mean(tried < 0.5))
    return found


@styled
def audit_figure(audits: pd.DataFrame) -> Figure:
    """The certified class's probability at the worst point found, inside and outside of every region.

    A dot below one half, on the left, breaks a certificate; on the right it shows how tight the certificates are.
    """
    figure, axes = panels(2, sharey=True)
    claimed = audits.query(f"prediction != {ABSTAIN}")
    for axis, part, title in zip(axes[0], ("inside", "outside"), ("inside the region", "outside of it"), strict=True):
        if len(claimed):
            upper = claimed[f"{part}.upper"].to_numpy(float)
            axis.scatter(claimed["radius"], upper, s=14, color=np.where(upper < 0.5, PALETTE[3], PALETTE[0]))
        axis.axhline(0.5, color="#888888", linewidth=1)
        axis.set(title=title, xlabel=r"radius $\rho$", ylim=(-0.03, 1.03))
    axes[0][0].set_ylabel("probability of the certified class\nat the worst point (upper bound)")
    return figure
