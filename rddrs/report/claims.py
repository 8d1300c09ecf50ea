"""What the paper's figure 2 is said to show, each with a verdict from records of the same inputs."""

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray
from rich.box import SIMPLE_HEAD
from rich.table import Table

from rddrs.report.tables import LOW_FIDELITY, Run
from rddrs.rounding import round_down, round_up

FAR, NEAR = 3.0, 0.5
"""Above FAR, and up to NEAR, the paper speaks of the proxy radius; it says "small R" of the second."""

PAIRS = 6
"""Of fewer inputs there is no verdict: by chance all of five differences have one sign with a probability of 1/16."""

Areas = Callable[[Float[ndarray, " n"]], Float[ndarray, " n"]]
"""Of the proxy radius of each input: what it adds to the area below the curve of certified accuracy."""


def beyond(radii: Float[ndarray, " n"]) -> Float[ndarray, " n"]:
    """The part of the area beyond FAR."""
    return np.maximum(radii - FAR, 0.0)


def within(radii: Float[ndarray, " n"]) -> Float[ndarray, " n"]:
    """The part of the area up to NEAR."""
    return np.minimum(radii, NEAR)


def verdicts(runs: Mapping[str, Run], own: str = "rddrs_paper") -> list[dict[str, Any]]:
    """A row for every claim that runs of one sigma and one network, by what they are called, can say something of.

    RDDRS is the run called `own`. `difference` is the mean over the inputs that both runs have of what the second's
    curve has more than the first's, with its 95 % interval (Student, paired). A claim `holds` where the whole interval
    is on its side, `fails` where it is on the other, and is `open` else: where all differences are equal, too, which
    give no interval. The verdict on fewer than six inputs is `too few`. `vacuous` names the runs of the two whose
    fidelity is below 0.9: their volume says little.
    """
    order, above = ("rs", "ddrs", "ancer", own), ("ancer", own)
    claims: list[tuple[str, tuple[str, str], Areas, int]] = [
        (f"ACR: {first} < {second}", (first, second), np.asarray, 1) for first, second in pairwise(order)
    ]
    claims.append((f"{own} above ancer, on average over R > {FAR:g}", above, beyond, 1))
    if any(math.isclose(run.sigma, 0.12) for run in runs.values()):
        claims.append((f"{own} below ancer, on average over R <= {NEAR:g}", above, within, -1))
    return [
        row
        for claim, pair, area, sign in claims
        if all(name in runs for name in pair)
        if (row := _verdict(claim, runs[pair[0]], runs[pair[1]], area, sign)) is not None
    ]


def _verdict(claim: str, first: Run, second: Run, area: Areas, sign: int) -> dict[str, Any] | None:
    """The row of a claim; None where the runs have no input in common."""
    from scipy.stats import sem, t  # takes a second to import

    tables = [run.records.set_index("index") for run in (first, second)]
    shared = tables[0].index.intersection(tables[1].index)
    if len(shared) == 0:
        return None
    radii = [(table["proxy_radius"] * table["correct"]).loc[shared].to_numpy(float) for table in tables]
    more = area(radii[1]) - area(radii[0])
    mean, reach = float(more.mean()), math.nan
    if np.ptp(more) > 1e-9 * np.abs(more).max():  # else they are equal up to rounding, or there is one
        reach = float(t.ppf(0.975, len(more) - 1) * sem(more))
    fidelities = [float(table["fidelity"].loc[shared].to_numpy().mean()) for table in tables]
    verdict = "holds" if sign * mean > reach else "fails" if -sign * mean > reach else "open"
    return {
        "sigma": second.sigma,
        "claim": claim,
        "inputs": len(shared),
        "difference": mean,
        "low": mean - reach,
        "high": mean + reach,
        "verdict": verdict if len(more) >= PAIRS else "too few",
        "vacuous": " ".join(
            run.method for run, it in zip((first, second), fidelities, strict=True) if it < LOW_FIDELITY
        ),
    }


def claims_table(found: pd.DataFrame) -> Table:
    """The verdicts for a terminal."""
    table = Table(box=SIMPLE_HEAD, title="what the paper says of its figure 2", padding=(0, 1, 0, 0))
    for heading in ("network", "sigma", "claim", "inputs", "difference", "95 %", "verdict", "fidelity < 0.9"):
        table.add_column(heading, overflow="fold")
    for row in found.to_dict("records"):
        numbers = (round_down(row["difference"]), f"{round_down(row['low'])} to {round_up(row['high'])}")
        words = (row["network"], f"{row['sigma']:g}", row["claim"], str(row["inputs"]))
        table.add_row(*words, *numbers, row["verdict"], row["vacuous"])
    return table
