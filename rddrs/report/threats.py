"""What an aimed certificate is worth: severities beside those of isotropic noise, and what they look like."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.table import Table
from torch import Tensor

from rddrs.certification import Certificate, inside
from rddrs.pictures.images import picture
from rddrs.records.record import is_tested, severity_column
from rddrs.report.severities import mean_severities, unit_of
from rddrs.report.style import panels, styled
from rddrs.report.tables import Run, confidence_band
from rddrs.rounding import round_down, round_up
from rddrs.threats import Perturbation, stored

SHARES = (0.0, 0.5, 1.0, 2.0)
"""The severities of a contact sheet, in units of the certified one."""

SCREEN = (0.0, 1.0)
"""What a screen shows, black to white."""


def threat_summary(
    records: pd.DataFrame,
    isotropic: pd.DataFrame | None,
    asked: Mapping[str, float] | None = None,
    inside: Mapping[str, Sequence[bool]] | None = None,
) -> pd.DataFrame:
    """A row for every perturbation: its mean certified `severity`, that of isotropic noise, `rs`, and their `ratio`.

    With `asked`, severities by name: the share of inputs that are right and certified `at` them, and its 95 %
    Clopper-Pearson interval `low` to `high`. Severities and shares are 0 where the prediction is wrong; both are of
    both signs, where a perturbation has them. Where severities are only `tested`, `inside` says by name, for every
    record, whether the images at just the severity that is asked are in the region.
    """
    means, base = mean_severities(records), {} if isotropic is None else mean_severities(isotropic)
    rows = []
    for name, severity in means.items():
        row = {"perturbation": name, "unit": unit_of(name), "severity": severity}
        row["tested"] = is_tested(records, name)
        if name in base:
            row |= {"rs": base[name], "ratio": severity / base[name] if base[name] else np.nan}
        if asked and name in asked:
            certified = (records[severity_column(name)] >= asked[name]) & records["correct"]
            share = np.mean(certified & np.asarray((inside or {}).get(name, True)))
            low, high = (float(bound[0]) for bound in confidence_band(np.array([share]), len(records)))
            row |= {"at": asked[name], "share": share, "low": low, "high": high}
        rows.append(row)
    return pd.DataFrame(rows)


def tested_at(
    asked: Mapping[str, float],
    records: pd.DataFrame,
    claimed: Callable[[int], Certificate],
    perturbations: Sequence[Perturbation],
    clamp: tuple[float, float] | None = None,
    rounding: float | None = None,
) -> dict[str, list[bool]]:
    """The `inside` of `threat_summary`, of what is only tested: by the certificates that are `claimed` of inputs."""
    found = {}
    for it in perturbations:
        if it.name in asked and is_tested(records, it.name):
            at = asked[it.name]
            severities = torch.tensor([at, -at] if it.two_sided else [at], dtype=torch.float64)
            certificates = map(claimed, records["index"])
            found[it.name] = [
                bool(inside(each, it, severities, clamp=clamp, rounding=rounding).all()) for each in certificates
            ]
    return found


def threat_cells(summary: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of the table of `threat_summary`, as they are shown: severities are rounded down.

    What was tested only says so.
    """
    compared, asked = "rs" in summary, "at" in summary
    headings = ["certified against", "up to", *(["RS", "times"] if compared else []), "unit"]
    headings += ["certified at", "share (95 % band)"] if asked else []
    rows = []
    for row in summary.to_dict("records"):
        name = row["perturbation"].replace("_", " ") + (", tested" if row.get("tested") else "")
        cells = [name, round_down(row["severity"])]
        cells += [round_down(row["rs"]), round_down(row["ratio"], 2)] if compared else []
        cells.append(row["unit"])
        if asked and np.isfinite(row["at"]):
            band = f"{round_down(row['low'])} to {round_up(row['high'])}"
            cells += [str(row["at"]), f"{round_down(row['share'])} ({band})"]
        rows.append(cells + [""] * (len(headings) - len(cells)))
    return headings, rows


def threat_table(summary: pd.DataFrame, aimed: Sequence[str] = ()) -> Table:
    """Up to which severity of each perturbation the answers are certified, on average; rounded down.

    Those that the scale was aimed at are marked.
    """
    headings, rows = threat_cells(summary)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="left" if place == 0 or heading == "unit" else "right", overflow="fold")
    for name, (first, *cells) in zip(summary["perturbation"], rows, strict=True):
        table.add_row(f"[bold]{first}[/]" if name in aimed else first, *cells)
    return table


def severity_metrics(summary: pd.DataFrame) -> dict[str, float]:
    """The figures that MLflow shows beside the severities: those of isotropic noise, and the shares asked for."""
    names = {"rs": "severity_rs", "ratio": "severity_ratio", "at": "certified_at_severity", "share": "certified_at",
             "low": "certified_at_low", "high": "certified_at_high"}  # fmt: skip
    return {
        f"{shown}/{row['perturbation']}": row[name]
        for row in summary.to_dict("records")
        for name, shown in names.items()
        if np.isfinite(row.get(name, np.nan))
    }


@styled
def contact_sheet(
    x: Float[Tensor, "*shape"],
    certified: Mapping[str, float],
    perturbations: Sequence[Perturbation],
    clamp: tuple[float, float] | None = None,
    rounding: float | None = None,
) -> Figure:
    """One input at 0, a half, all and twice the severity that is certified for it, a row for each perturbation.

    Severities end at the perturbation's limit, and are rounded down; a row says where they are only tested. Images are
    clamped and rounded as they were certified, and drawn as a screen shows them: the range of `clamp`, or of [0, 1],
    from black to white. Raises ValueError where the input is no picture.
    """
    if picture(x.detach().cpu().numpy()) is None:
        raise ValueError(f"an input of shape {tuple(x.shape)} is no picture")
    figure, axes = panels(len(SHARES), len(perturbations), 1.6, 1.75)
    for row, it in zip(axes, perturbations, strict=True):
        severities = [min(share * certified[it.name], it.limit) for share in SHARES]
        moved = stored(it.points(x, torch.tensor(severities, dtype=torch.float64)), clamp, rounding)
        low, high = clamp or SCREEN
        for axis, severity, each in zip(row, severities, moved.clamp(low, high).cpu().numpy(), strict=True):
            image = picture((each - low) / (high - low))
            assert image is not None
            axis.imshow(image, cmap="gray", vmin=0, vmax=1)
            axis.set_title(round_down(severity), fontsize=8, loc="center", fontweight="normal")
            axis.set(xticks=[], yticks=[])
            axis.grid(False)
        tested = "" if it.bounded else ", tested"
        row[0].set_ylabel(f"{it.name.replace('_', ' ')}{tested}\n{it.unit}", fontsize=8)
    for axis, heading in zip(axes[0], ("the input", "half of it", "certified", "twice that"), strict=True):
        axis.set_title(f"{heading}\n{axis.get_title(loc='center')}", fontsize=8, loc="center", fontweight="normal")
    return figure


def sheet_of(
    run: Run, aimed: Sequence[Perturbation], clamp: tuple[float, float] | None = None, rounding: float | None = None
) -> dict[str, Figure]:
    """The contact sheet of the right answer in the middle, by the severity of what the scale is aimed at first.

    Empty where nothing is aimed at, no answer is right or inputs are no pictures.
    """
    right = run.records.query("correct")
    if not aimed or right.empty:
        return {}
    order = right[severity_column(aimed[0].name)].to_numpy().argsort()
    row = right.iloc[int(order[len(right) // 2])]
    x = run.input(int(row["index"]))
    if picture(x.numpy()) is None:
        return {}
    certified = {it.name: row[severity_column(it.name, "_high")] for it in aimed}
    return {"contact_sheet": contact_sheet(x, certified, aimed, clamp, rounding)}
