"""The runs' ACRs beside the published ones (METHOD section 6)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table

from rddrs.models import card_of, scale_file
from rddrs.report.tables import Run, labels
from rddrs.rounding import round_down, round_up

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
    ("cat_rs", 0.25): 0.933,
    ("cat_rs", 0.5): 1.700,
    ("cat_rs", 1.0): 1.831,
}
"""ACR of RS on MNIST's 10,000 test images by objective and sigma, n = 100,000, alpha = 0.001 (METHOD section 6)."""

TERMS = {"norm": "l2", "target_radius": None, "alpha": 1e-3}
"""Under which these were certified; runs of before there were others state none."""

SIGMAS = {sigma for _, sigma in PUBLISHED}


def literature(runs: Sequence[Run]) -> pd.DataFrame:
    """One row for each run that stands beside the literature: RS on MNIST, l2, its alpha, under isotropic training.

    The objective is that of the training, or of the card of a network that ships; weights from elsewhere have none,
    and no row. `acr` is the mean l2 radius, 0 where wrong, over `inputs`, and `standard_error` that of the choice of
    inputs; `difference` is relative to `published`: NaN where there is no figure.
    """
    rows = []
    for run, label in labels(runs).items():
        if not run.configuration:
            continue
        stated = run.stated
        objective, certify = _objective(stated), stated["certify"]
        kind = (stated["data"]["name"], run.method, *(certify.get(key, it) for key, it in TERMS.items()))
        if objective is None or run.sigma not in SIGMAS or kind != ("mnist", "rs", *TERMS.values()):
            continue
        published = PUBLISHED.get((objective, run.sigma), math.nan)
        radii = (run.records["ball_radius"] * run.records["correct"]).astype(float)
        own = {"run": label, "objective": objective, "sigma": run.sigma, "inputs": len(radii)}
        own |= {
            "samples": stated["certify"]["samples"],
            "acr": radii.mean(),
            "standard_error": radii.std(ddof=1) / math.sqrt(len(radii)),
        }
        rows.append(own | {"published": published, "difference": radii.mean() / published - 1})
    return pd.DataFrame(rows)


def _objective(stated: Mapping[str, Any]) -> str | None:
    """What the training of the weights under isotropic noise minimised; None where that is not known or was not it."""
    network, training = stated["classifier"], stated["train"]
    if (shipped := network.get("pretrained")) is not None:
        return None if scale_file(shipped).exists() else card_of(shipped)["objective"]
    if network.get("checkpoint") is not None or training["name"] == "covariance":
        return None
    return training.get("objective", training)["name"]  # the training's own, in runs of before it had one


def literature_table(found: pd.DataFrame) -> Table:
    """The table of `literature` for a terminal."""
    title = "beside the literature (10,000 inputs, n = 100,000)"
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), title=title, title_justify="left")
    for heading in ("objective", "sigma", "inputs", "n", "ACR", "+-", "pub-\nlished", "differ-\nence"):
        table.add_column(heading, justify="left" if heading == "objective" else "right", overflow="fold")
    for row in found.to_dict("records"):
        ours = (f"{row['inputs']}", f"{row['samples']:,}", round_down(row["acr"]), round_up(row["standard_error"]))
        more = round_down(100 * row["difference"], 1)
        more = more if more.startswith("-") else f"+{more}"
        theirs = (f"{row['published']:.3f}", f"{more}%") if row["published"] > 0 else ("-", "-")
        table.add_row(row["objective"], f"{row['sigma']:g}", *ours, *theirs)
    return table
