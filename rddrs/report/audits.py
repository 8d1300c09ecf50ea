"""What an audit found: a table and a figure."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.table import Table

from rddrs.certification import ABSTAIN
from rddrs.report.style import PALETTE, panels, styled


def audit_table(summary: dict[str, int | float], audits: pd.DataFrame) -> Table:
    """How many certificates were audited and broken, by which check, and what attacks outside the regions reached."""
    table = Table("audit", box=SIMPLE_HEAD)
    table.add_column("", justify="right")
    table.add_row("certificates", str(summary["audited"]))
    table.add_row("broken", str(summary["broken"]))
    for flag, count in audits["flags"].str.split(", ").explode().value_counts().items():
        if flag:
            table.add_row(f"  by {flag}", str(count))
    table.add_row("expected if all are honest, at most", f"{summary['expected_false_alarms']:.3f}")
    table.add_row("contradictions", str(summary["contradictions"]))
    table.add_row("pairs of classes that overlap", str(summary["overlaps"]))
    claimed = audits.query(f"prediction != {ABSTAIN}")
    if len(claimed):
        share = (claimed["outside.upper"] < 0.5).mean()
        factor = claimed["outside.factor"].iloc[0]
        table.add_row(f"attacks that succeed at {factor:g} times the radius", f"{share:.3f}")
        for column in claimed.filter(regex=r"^along\..*\.outside\.upper$"):
            name, share = column.split(".")[1].replace("_", " "), (claimed[column] < 0.5).mean()
            table.add_row(f"{name} that succeeds at {factor:g} times the certified severity", f"{share:.3f}")
    return table


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
