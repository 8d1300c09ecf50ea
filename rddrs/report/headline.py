"""What a page says first: one sentence on what was certified, and four numbers with their intervals."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rddrs.certification import ABSTAIN
from rddrs.report.gains import FEWEST, mean_interval
from rddrs.report.tables import Run, confidence_band, fidelity_interval, interval, labels, standard_name, summarize
from rddrs.rounding import round_down
from rddrs.version import __version__


def headline(runs: Sequence[Run], made: str = "") -> tuple[str, str]:
    """A sentence on what the runs certify, and how: samples, alpha, version and day, all of them where runs differ."""
    stated = [run.stated for run in runs]

    def each(group: str, key: str) -> list[Any]:
        return sorted({it[group][key] for it in stated if key in it.get(group, {})})

    data, networks = each("data", "name"), [name.rpartition(".")[2] for name in each("classifier", "_target_")]
    counts = sorted({len(run.records) for run in runs})
    inputs = f"{_span(counts)} test inputs" + (f" of {', '.join(data)}" if data else "")
    network = "" if not networks else f"a {networks[0]}" if len(networks) == 1 else f"{len(networks)} networks"
    if len(runs) == 1:
        under = f" of {network}" if network else ""
        answered = counts[0] - runs[0].records["prediction"].to_list().count(ABSTAIN)
        inputs = inputs if answered == counts[0] else f"{answered:,} of {inputs}"
        sentence = f"{runs[0].method} certifies the answers{under} to {inputs}, under noise of sigma {runs[0].sigma:g}"
    else:
        names = list(dict.fromkeys(labels(runs).values()))
        told = f"{', '.join(names[:-1])} and {names[-1]}" if 1 < len(names) <= 6 else f"{len(runs)} runs"
        sentence = f"{told} side by side, on {inputs}" + (f" and {network}" if network else "")
    terms = []
    if samples := each("certify", "samples"):
        alpha = f", each false with probability at most alpha = {_span(each('certify', 'alpha'))}"
        most = "at most " if any(it["certify"].get("target_radius") for it in stated if "certify" in it) else ""
        terms.append(f"n = {most}{_span(samples)} samples an input{alpha}")
    return sentence, "; ".join([*terms, f"rddrs {__version__}", *([made] if made else [])])


def _span(values: Sequence[float]) -> str:
    """The value that all have, or the least and the most."""
    return " to ".join(f"{it:,}" if it >= 1 else str(it) for it in sorted({values[0], values[-1]}))


def tiles(run: Run, isotropic: Run | None = None) -> list[dict[str, str]]:
    """Certified accuracy, mean ball and proxy radius, and fidelity: `name`, `value`, `interval`, and what RS has.

    Values, and what they have more than RS, are rounded down, intervals outward. Intervals are 95 %: of the accuracy
    Clopper-Pearson, of mean radii bootstrap over the inputs, of which fewer than `FEWEST` are too few.
    """
    summary = summarize(run.records)
    other = None if isotropic is None else summarize(isotropic.records)
    low, high = (float(it[0]) for it in confidence_band(np.array([summary["certified_accuracy"]]), len(run.records)))
    found = [_tile("Certified accuracy", summary, other, "certified_accuracy", (low, high))]
    for name, column in (("ball", "ball_radius"), ("proxy", "proxy_radius")):
        values = run.records[column].to_numpy(float) * run.records["correct"].to_numpy(float)
        tile = _tile(f"Mean {name} radius", summary, other, f"acr_{name}", mean_interval(values))
        found.append(tile | ({"interval": "too few inputs"} if len(values) < FEWEST else {}))
    fidelity = {"name": "Fidelity", "value": round_down(summary["fidelity"]), "interval": fidelity_interval(summary)}
    return [*found, fidelity | {"versus": f"1: as good as {standard_name(run.records)}"}]


def _tile(
    name: str, summary: dict[str, Any], other: dict[str, Any] | None, key: str, ends: tuple[float, float]
) -> dict[str, str]:
    told = {"name": name, "value": round_down(summary[key]), "interval": interval(*ends)}
    if other is None:
        return told | {"versus": ""}
    more = round_down(summary[key] - other[key])
    return told | {"versus": f"RS {round_down(other[key])}: {more if more.startswith('-') else '+' + more}"}
