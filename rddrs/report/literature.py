"""The runs' ACRs beside the published ones (METHOD section 6)."""

from collections.abc import Sequence

import pandas as pd
import yaml
from rich.box import SIMPLE_HEAD
from rich.table import Table
from scipy.stats import sem

from rddrs.report.tables import Run, labels
from rddrs.rounding import round_down

PUBLISHED = {
    ("gaussian", 0.25): 0.911,
    ("gaussian", 0.5): 1.558,
    ("gaussian", 1.0): 1.618,
    ("consistency", 0.25): 0.928,
    ("consistency", 0.5): 1.655,
    ("consistency", 1.0): 1.738,
    ("smoothadv", 0.25): 0.932,
    ("smoothadv", 0.5): 1.687,
    ("smoothadv", 1.0): 1.779,
}
"""ACR of RS on MNIST's 10,000 test images by objective and sigma, n = 100,000: Cohen et al. 2019, Jeong & Shin 2020,
Salman et al. 2019."""


def literature(runs: Sequence[Run]) -> pd.DataFrame:
    """One row for each run that the literature has a figure for: RS on MNIST, l2.

    `acr` is the mean l2 radius, 0 where wrong, over `inputs`, and `standard_error` that of the choice of inputs;
    `difference` is relative to `published`.
    """
    rows = []
    for run, label in labels(runs).items():
        if not run.configuration:
            continue
        stated = yaml.safe_load(run.configuration)
        kind = (stated["data"]["name"], run.method, stated["certify"].get("norm", "l2"))
        published = PUBLISHED.get((stated["train"]["name"], run.sigma))
        if published is None or kind != ("mnist", "rs", "l2"):
            continue
        radii = (run.records["ball_radius"] * run.records["correct"]).to_numpy(dtype=float)
        own = {"run": label, "objective": stated["train"]["name"], "sigma": run.sigma, "inputs": len(radii)}
        own |= {"samples": stated["certify"]["samples"], "acr": radii.mean(), "standard_error": sem(radii)}
        rows.append(own | {"published": published, "difference": radii.mean() / published - 1})
    return pd.DataFrame(rows)


def literature_table(found: pd.DataFrame) -> Table:
    """The table of `literature` for a terminal."""
    table = Table(box=SIMPLE_HEAD, title="beside the literature (10,000 inputs, n = 100,000)")
    for heading in ("objective", "sigma", "inputs", "n", "ACR", "+-", "published", "difference"):
        left = heading == "objective"
        table.add_column(heading, justify="left" if left else "right", min_width=11 if left else None)
    for row in found.to_dict("records"):
        ours = (f"{row['inputs']}", f"{row['samples']:,}", round_down(row["acr"]), f"{row['standard_error']:.3f}")
        theirs = (f"{row['published']:.3f}", f"{row['difference']:+.1%}")
        table.add_row(row["objective"], f"{row['sigma']:g}", *ours, *theirs)
    return table
