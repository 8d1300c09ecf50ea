"""Numbers from records: the summary of a run, certified accuracy with its confidence band, the printed tables."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray
from rich.box import SIMPLE_HEAD
from rich.columns import Columns
from rich.console import Console, Group
from rich.measure import Measurement
from rich.table import Table
from scipy.special import betaincinv
from torch import Tensor

from rddrs.certification import ABSTAIN
from rddrs.noise import Scale
from rddrs.records.stated import configuration_in
from rddrs.rounding import round_down, round_up

RADII = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0, 8.0)
"""Where the closing table states the certified accuracy."""

LOW_FIDELITY = 0.9
"""Below this mean fidelity a run's certificates are called vacuous: its radii say little."""


@dataclass(frozen=True, eq=False)
class Run:
    """The records of one run, one row an input, and a way to load an input x and its scale by the input's index."""

    name: str
    method: str
    sigma: float
    records: pd.DataFrame
    load: Callable[[int], tuple[Tensor, Scale]]
    configuration: str = ""
    label: str = ""

    def __post_init__(self) -> None:
        if len(self.records) == 0:
            raise ValueError(f"run {self.name} has no records: there is nothing to report")

    def input(self, index: int) -> Tensor:
        """An input without its scale."""
        return self.load(index)[0]

    @property
    def stated(self) -> Mapping[str, Any]:
        """What its configuration states; empty where there is none."""
        return configuration_in(self.configuration)

    @cached_property
    def labelled(self) -> dict[int, int]:
        """The label of every input by its index."""
        return dict(zip(self.records["index"].tolist(), self.records["label"].tolist(), strict=True))

    @cached_property
    def first_length(self) -> float:
        """The l2 norm of the input with the lowest index: a rotation of the data keeps it."""
        return _length(self, min(self.labelled))


def summarize(records: pd.DataFrame) -> dict[str, int | float]:
    """The contents of summary.json, in full precision.

    An ACR is the mean over all inputs of a radius, 0 where the prediction is wrong or abstained. Fidelity, the ends of
    its interval and the seconds an input are means, contradictions a sum. With a target radius: the decisions, and the
    samples spent on an input (mean and median). `refused`, where there are any, counts the inputs for which nothing but
    sigma I was found. Raises ValueError where there are no records.
    """
    if len(records) == 0:
        raise ValueError("there are no records to summarise")

    def values(name: str) -> Float[ndarray, " n"]:
        return records[name].to_numpy(dtype=float)

    correct = values("correct")
    decided = {}
    if "decision" in records:
        answers = records["decision"].to_list()
        decided = {f"decided_{answer}": answers.count(answer) for answer in ("yes", "no")}
        decided |= {"samples": float(values("samples").mean()), "median_samples": float(np.median(values("samples")))}
    refused = records["status"].to_list().count("refused")
    return {
        "inputs": len(records),
        "certified_accuracy": float(correct.mean()),
        "abstentions": int((values("prediction") == ABSTAIN).sum()),
        "acr_radius": float((values("radius") * correct).mean()),
        "acr_proxy": float((values("proxy_radius") * correct).mean()),
        "acr_ball": float((values("ball_radius") * correct).mean()),
        **{name: float(values(name).mean()) for name in FIDELITY if name in records},
        "contradictions": int(values("contradictions").sum()),
        "optimize_seconds": float(values("optimize_seconds").mean()),
        "certify_seconds": float(values("certify_seconds").mean()),
        **decided,
        **({"refused": refused} if refused else {}),
    }


def certified_accuracy(
    records: pd.DataFrame, radii: Sequence[float] | Float[ndarray, " r"], column: str
) -> Float[ndarray, " r"]:
    """The share of all inputs that are correct with a `column` (radius, proxy_radius, ball_radius) of at least r."""
    return share_at_least(np.where(records["correct"], records[column], -1.0), radii)


def share_at_least(
    values: Float[ndarray, " n"], thresholds: Sequence[float] | Float[ndarray, " r"]
) -> Float[ndarray, " r"]:
    """The share of the values that are at least each threshold."""
    below = np.searchsorted(np.sort(values), np.asarray(thresholds), side="left")
    return (len(values) - below) / len(values)


def evenly(records: pd.DataFrame, count: int) -> list[int]:
    """The indices of at most `count` inputs, evenly spaced over the records in the order of their index."""
    indices = np.sort(records["index"].to_numpy())
    chosen = np.linspace(0, len(indices) - 1, min(count, len(indices))).round().astype(int)
    return indices[chosen].tolist()


def confidence_band(
    share: Float[ndarray, " r"], inputs: int, confidence: float = 0.95
) -> tuple[Float[ndarray, " r"], Float[ndarray, " r"]]:
    """The two-sided Clopper-Pearson interval of shares that were found on so many inputs, pointwise."""
    successes = np.rint(share * inputs)
    tail = (1 - confidence) / 2
    lower = np.where(successes == 0, 0.0, betaincinv(np.maximum(successes, 1), inputs - successes + 1, tail))
    upper = np.where(successes == inputs, 1.0, betaincinv(successes + 1, np.maximum(inputs - successes, 1), 1 - tail))
    return lower, upper


def closing_table(
    summary: dict[str, int | float], records: pd.DataFrame, title: str = "", radii: Sequence[float] = RADII
) -> Group:
    """What a run says at its end: certified accuracy at a few radii, the three ACRs, fidelity and costs.

    Radii, shares and fidelity are rounded down, intervals outward. The rows end at the first radius that no input
    reaches.
    """
    accuracy = Table("radius", box=SIMPLE_HEAD, title="certified accuracy")
    columns = [certified_accuracy(records, radii, column) for column in ("proxy_radius", "ball_radius")]
    for heading in ("proxy", "ball"):
        accuracy.add_column(heading, justify="right")
    for radius, *shares in zip(radii, *columns, strict=True):
        accuracy.add_row(f"{radius:g}", *map(round_down, shares))
        if not any(shares):
            break
    numbers = Table("", box=SIMPLE_HEAD, title="over all inputs")
    numbers.add_column("", justify="right")
    numbers.add_row("mean proxy radius (ACR)", round_down(summary["acr_proxy"]))
    numbers.add_row("mean ball radius (ACR)", round_down(summary["acr_ball"]))
    numbers.add_row("mean rho (ACR)", round_down(summary["acr_radius"]))
    numbers.add_row(f"fidelity (1: as good as {standard_name(records)})", round_down(summary["fidelity"]))
    numbers.add_row("its interval, 95 %", fidelity_interval(summary))
    numbers.add_row("contradictions", str(summary["contradictions"]))
    if "refused" in summary:
        numbers.add_row("refused: C is sigma I", f"{summary['refused']} of {summary['inputs']}")
    numbers.add_row("abstentions", f"{summary['abstentions']} of {summary['inputs']}")
    if "samples" in summary:
        undecided = summary["inputs"] - summary["decided_yes"] - summary["decided_no"]
        decided = f"{summary['decided_yes']} / {summary['decided_no']} / {undecided}"
        numbers.add_row("target: yes/no/undecided", decided)
        spent = f"{summary['samples']:.0f} / {summary['median_samples']:.0f}"
        numbers.add_row("samples an input, mean / median", spent)
    numbers.add_row("seconds to optimise, an input", f"{summary['optimize_seconds']:.3f}")
    numbers.add_row("seconds to certify, an input", f"{summary['certify_seconds']:.3f}")
    return Group(*([title] if title else []), Columns([accuracy, numbers], padding=(0, 3)))


FIDELITY = ("fidelity", "fidelity_low", "fidelity_high")
"""A fidelity and the ends of its interval, which records of version 0.6 lack."""

STANDARDS = {
    "as_long": "RS trained as long",
    "start": "the RS it started from",
    "itself": "itself under sigma I",
}
"""What the fidelity of a co-trained run is relative to, by the column `baseline` of its records."""


def standard_name(records: pd.DataFrame) -> str:
    """What the fidelity of the records is relative to."""
    return STANDARDS.get(records["baseline"].iloc[0], "RS") if "baseline" in records else "RS"


def interval(low: float, high: float, digits: int = 3) -> str:
    """An interval as text, rounded outward; "-" where there is none."""
    return "-" if math.isnan(low) else f"{round_down(low, digits)}-{round_up(high, digits)}"


def fidelity_interval(summary: Mapping[str, Any]) -> str:
    """The interval of a fidelity as text, rounded outward; "-" where there is none."""
    low, high = (summary.get(name, math.nan) for name in FIDELITY[1:])
    return interval(low, high, 2)


def labels(runs: Sequence[Run]) -> dict[Run, str]:
    """What each run is called: its label, else its method, or its name where two runs share method and sigma."""
    distinct = len({(run.method, run.sigma) for run in runs}) == len(runs)
    return {run: run.label or (run.method if distinct else run.name) for run in runs}


def baseline_of(runs: Sequence[Run]) -> Run:
    """The run that others are compared with: the first of RS, else the first."""
    return next((run for run in runs if run.method == "rs"), runs[0])


_LENGTHS = 1e-4
"""Lengths of one input differ less, relatively, also where it was rotated in float32."""


def shared_inputs(runs: Sequence[Run]) -> list[int]:
    """The indices of the inputs that all runs have; none where their data differ, so that an index is not one input.

    That is where labels do, or the length of the first input, which a rotation of the data keeps.
    """
    shared = sorted(set.intersection(*(set(run.labelled) for run in runs)))
    if any(run.labelled[index] != runs[0].labelled[index] for run in runs[1:] for index in shared):
        return []
    if len(runs) > 1 and shared:
        lengths = [_length(run, shared[0]) for run in runs]
        return shared if np.allclose(lengths, lengths[0], rtol=_LENGTHS) else []
    return shared


def same_inputs(run: Run, other: Run) -> bool:
    """Whether two runs are of the same inputs, so that their means can be set against each other."""
    alike = run.labelled == other.labelled
    return run is other or (alike and math.isclose(run.first_length, other.first_length, rel_tol=_LENGTHS))


def _length(run: Run, index: int) -> float:
    return run.input(index).double().norm().item()


def kind_of(run: Run) -> tuple[float, str]:
    """Sigma and the norm of the radii: those of two norms are not to be compared."""
    return run.sigma, run.records["norm"].iloc[0] if "norm" in run.records else "l2"


def of_a_kind(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs of every sigma, ascending, and norm, by the title of their panel, which names a norm beside another."""
    kinds = sorted({*map(kind_of, runs)})
    several = len({norm for _, norm in kinds}) > 1
    return {
        rf"$\sigma$ = {kind[0]:g}" + (f", {kind[1]}" if several else ""): [run for run in runs if kind_of(run) == kind]
        for kind in kinds
    }


def alike(runs: Sequence[Run]) -> list[int]:
    """For every run the place of the first of its kind with the same inputs: the best is sought among those alone."""
    return [
        next(place for place, it in enumerate(runs) if kind_of(it) == kind_of(run) and same_inputs(it, run))
        for run in runs
    ]


BALLS = (0.25, 0.5, 0.75, 1.0)
"""Where a comparison states the certified accuracy by ball radius, beside its mean."""

QUANTILES = (0.1, 0.5, 0.9)
"""Those of the distribution of p_A that a comparison states."""


def distribution(records: pd.DataFrame) -> dict[str, float]:
    """What a mean radius, which rewards easy inputs, hides: `certified_at_R` of the ball, `p_A_Q` at quantiles.

    p_A is the lower bound of the probability of the class, 0 where the answer is wrong or abstained.
    """
    shares = certified_accuracy(records, BALLS, "ball_radius").tolist()
    values = np.quantile(probabilities(records), QUANTILES, method="inverted_cdf").tolist()
    found = {f"certified_at_{radius:g}": share for radius, share in zip(BALLS, shares, strict=True)}
    return found | {f"p_A_{quantile:g}": value for quantile, value in zip(QUANTILES, values, strict=True)}


def probabilities(records: pd.DataFrame) -> Float[ndarray, " n"]:
    """The lower bound of p_A of every input, 0 where the answer is wrong or abstained."""
    return np.where(records["correct"], records["p_lower"], 0.0).astype(float)


def compare(runs: Sequence[Run]) -> pd.DataFrame:
    """One row a run: its name, label, method and sigma, its summary and its distribution, in full precision."""
    return pd.DataFrame(
        {"run": run.name, "label": label, "method": run.method, "sigma": run.sigma}
        | summarize(run.records)
        | distribution(run.records)
        for run, label in labels(runs).items()
    )


def in_order(run: Run) -> tuple[float, bool, str]:
    """By which the runs of a comparison are sorted: sigma, RS first, method."""
    return run.sigma, run.method != "rs", run.method


HEADINGS = {
    "label": "run",
    "sigma": "sigma",
    "certified_accuracy": "certi-\nfied\naccu-\nracy",
    "acr_proxy": "ACR\nproxy",
    "acr_ball": "ACR\nball",
    "fidelity": "fide-\nlity",
    "fidelity_low": "fidelity,\n95 %",
    "contradictions": "contra-\ndic-\ntions",
    "abstentions": "absten-\ntions",
    "optimize_seconds": "opti-\nmise\nseconds",
    "certify_seconds": "cer-\ntify\nseconds",
}
"""The columns of a comparison that is shown, in order."""


def shown(comparison: pd.DataFrame) -> list[list[str]]:
    """The rows of `compare` as text, in the order of HEADINGS: radii, shares and fidelity rounded down."""

    def text(name: str, row: dict) -> str:
        match name:
            case "label" | "contradictions":
                return str(row[name])
            case "fidelity_low":
                return fidelity_interval(row)
            case "sigma":
                return f"{row[name]:g}"
            case "abstentions":
                return f"{row[name]}/{row['inputs']}"
            case "optimize_seconds" | "certify_seconds":
                return f"{row[name]:.3f}"
            case _:
                return round_down(row[name])

    return [[text(name, row) for name in HEADINGS] for row in comparison.to_dict("records")]


def comparison_table(comparison: pd.DataFrame, width: int = 80) -> Table:
    """The table of `compare` for a terminal of so many columns: what does not fit is left out, the last first."""
    names, rows = [*HEADINGS], shown(comparison)
    while True:
        table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for name in names:
            table.add_column(HEADINGS[name], justify="left" if name == "label" else "right", overflow="fold")
        for row in rows:
            table.add_row(*row[: len(names)])
        if len(names) < 3 or needed(table) <= width:
            return table
        names.pop()


def needed(table: Table) -> int:
    """The columns of a terminal that a table needs, its cells unbroken."""
    console = Console(width=10_000)
    return Measurement.get(console, console.options, table).maximum
