"""What a run shows, tables, a summary and figures in MLflow, and whether it follows from the records."""

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rddrs.compat import log_of, write_log
from rddrs.digests import file_digest
from rddrs.files import replacing, write_text
from rddrs.records.inventory import audited
from rddrs.records.record import PER_INPUT
from rddrs.records.run_folder import RunFolder
from rddrs.records.stated import Difference, as_read, differences, read_json, reading_differences, table_differences
from rddrs.report.paths import path_metrics, path_summary
from rddrs.report.severities import mean_severities
from rddrs.report.tables import certified_accuracy, evenly, summarize
from rddrs.report.threats import severity_metrics, threat_summary

if TYPE_CHECKING:
    from rddrs.records.tracking import Logged


SHOWN = 200
"""At most so many inputs of a run have a picture in MLflow and are points of its curves, evenly spaced."""


def summary_of(records: pd.DataFrame, alpha: float) -> dict[str, Any]:
    """The contents of summary.json for certificates, and paths, that are each false with at most `alpha`."""
    paths = path_summary(records)
    expected = {"expected_false_certificates": alpha * len(records) * (1 + len(paths))}
    return summarize(records) | expected | ({"paths": paths} if paths else {})


def metrics_of(records: pd.DataFrame, alpha: float) -> dict[str, float]:
    """The single figures that MLflow shows: the summary and the mean certified severities."""
    severities = {f"severity/{name}": value for name, value in mean_severities(records).items()}
    single = {name: value for name, value in summary_of(records, alpha).items() if name != "paths"}
    return single | severities | path_metrics(records)


def curves_of(records: pd.DataFrame) -> dict[str, dict[int, float]]:
    """The curves that MLflow draws, by name and step, as many points for 200 inputs as for more.

    `certified_accuracy_at/KIND` is over the radius in hundredths; `input/COLUMN` over the index of at most `SHOWN`
    inputs, evenly spaced: the tables have all of them.
    """
    most, step = math.ceil(100 * records["proxy_radius"].to_numpy(dtype=float).max()), 5
    while most > step * SHOWN:
        step *= 2
    steps = [*range(0, most + step, step)]
    curves = {
        f"certified_accuracy_at/{kind}": certified_accuracy(records, np.array(steps) / 100, f"{kind}_radius")
        for kind in ("ball", "proxy")
    }
    shown = records.set_index("index").loc[evenly(records, SHOWN)]
    found = {name: dict(zip(steps, shares.tolist(), strict=True)) for name, shares in curves.items()}
    return found | {f"input/{name}": shown[name].to_dict() for name in PER_INPUT}


def publish(folder: Path, records: pd.DataFrame, alpha: float) -> None:
    """Write the records, as two tables, their summary and their log, each as a whole or not at all."""
    run = RunFolder(folder)
    with replacing(run.records) as part:
        records.to_parquet(part, index=False)
    write_text(run.records_csv, records.to_csv(index=False))
    write_text(run.summary, json.dumps(summary_of(records, alpha), indent=2) + "\n")
    write_log(run.log, records)


def compared_columns(records: pd.DataFrame) -> set[str]:
    """The columns of `severities.csv` that a counterpart under isotropic noise gives."""
    return {*threat_summary(records, records)} - {*threat_summary(records, None)}


def compared_metrics(records: pd.DataFrame) -> set[str]:
    """The figures of MLflow that a counterpart under isotropic noise gives."""
    shown = [severity_metrics(threat_summary(records, other)) for other in (records, None)]
    return {*shown[0]} - {*shown[1]}


Tested = Callable[[Mapping[str, float]], Mapping[str, Sequence[bool]]]


def untested(asked: Mapping[str, float]) -> Mapping[str, Sequence[bool]]:
    """No severity is asked of what is only tested."""
    return {}


def published_differences(
    folder: Path,
    records: pd.DataFrame,
    isotropic: pd.DataFrame | None,
    alpha: float,
    left_out: Collection[str] = (),
    tested: Tested = untested,
) -> list[Difference]:
    """Where the tables and the summary of a run do not follow from its records and from those of its counterpart.

    Which severities `severities.csv` asks for, and whether it has a counterpart, is as it states: the answers are not.
    `left_out` are columns of it that nothing here can prove; `tested(asked)` is the `inside` of `threat_summary`.
    """

    run = RunFolder(folder)

    def parquet(path: Path) -> list[Difference]:
        return table_differences(path.name, pd.read_parquet(path), records)

    def csv(path: Path) -> list[Difference]:
        return table_differences(path.name, pd.read_csv(path), as_read(records))

    def summary(path: Path) -> list[Difference]:
        return differences(path.name, read_json(path.read_text()), summary_of(records, alpha))

    def severities(path: Path) -> list[Difference]:
        stated = pd.read_csv(path).drop(columns=list(left_out), errors="ignore")
        asked = dict(zip(stated["perturbation"], stated["at"], strict=True)) if "at" in stated else {}
        other = isotropic if compared_columns(records) & {*stated} else None
        asked = {key: value for key, value in asked.items() if np.isfinite(value)}
        expected = threat_summary(records, other, asked, tested(asked))
        return table_differences(path.name, stated, as_read(expected), "perturbation")

    def log(path: Path) -> list[Difference]:  # which runs of 0.6.0 lack
        same = not path.exists() or path.read_text() == log_of(records)
        return [] if same else [Difference(path.name, None, "file", "another", "that of the records")]

    checks = {run.records: parquet, run.records_csv: csv, run.summary: summary, run.severities: severities}
    checks[run.log] = log
    return [it for path, check in checks.items() for it in reading_differences(path.name, partial(check, path))]


def logged_differences(
    shown: "Logged",
    folder: Path,
    records: pd.DataFrame,
    isotropic: pd.DataFrame | None,
    alpha: float,
    parameters: Mapping[str, str],
    tags: Mapping[str, str],
    tested: Tested = untested,
) -> list[Difference]:
    """Where what MLflow shows, figures, columns by index, parameters, tags and copies of files, does not follow."""
    asked = {
        name.partition("/")[2]: values[0]
        for name, values in shown.metrics.items()
        if name.startswith("certified_at_severity/") and 0 in values
    }
    other = isotropic if compared_metrics(records) & {*shown.metrics} else None
    figures = metrics_of(records, alpha) | severity_metrics(threat_summary(records, other, asked, tested(asked)))
    series = {name: {0: value} for name, value in figures.items()}
    series |= curves_of(records)
    found = []
    for name in {**series, **shown.metrics}:
        if audited(f"metrics/{name}"):
            stated, expected = shown.metrics.get(name, {}), series.get(name, {})
            for step in {**expected, **stated}:
                left, right = ({name: values[step]} if step in values else {} for values in (stated, expected))
                found += differences("MLflow", left, right, step if name.startswith("input/") else None)
            if expected and name in shown.latest:
                found += differences("MLflow", {name: shown.latest[name]}, {name: expected[max(expected)]})
    for kind, *rows in (("params", shown.parameters, parameters), ("tags", shown.tags, tags)):
        left, right = ({key: it for key, it in row.items() if audited(f"{kind}/{key}")} for row in rows)
        found += differences(f"MLflow {kind}", left, right)
    for path in sorted(path for path in shown.artifacts.rglob("*") if path.is_file()):
        name = path.relative_to(shown.artifacts).as_posix()
        own = folder / name.removeprefix("records/")
        if audited(f"artifacts/{name}") and not (own.is_file() and (path.samefile(own) or _equal(path, own))):
            found.append(Difference(f"MLflow artifacts/{name}", None, "file", "other bytes", f"those of {own.name}"))
    return found


def _equal(path: Path, other: Path) -> bool:
    return file_digest(path) == file_digest(other)
