"""What a run shows, tables, a summary and figures in MLflow, and whether it follows from the records."""

import json
from pathlib import Path

import pandas as pd

from rddrs.files import replacing, write_text
from rddrs.records.differences import MISSING, Difference, differences, table_differences
from rddrs.report.severities import mean_severities
from rddrs.report.tables import summarize

PER_INPUT = [
    *("radius", "proxy_radius", "ball_radius", "p_lower", "scale_min", "scale_max", "log_det", "sigma_x"),
    *("fidelity", "contradictions", "correct", "prediction", "optimize_seconds", "certify_seconds"),
]
"""The columns of the records that MLflow shows over the input's index."""


def summary_of(records: pd.DataFrame, alpha: float) -> dict[str, int | float]:
    """The contents of summary.json for certificates that are each false with probability at most `alpha`."""
    return summarize(records) | {"expected_false_certificates": alpha * len(records)}


def metrics_of(records: pd.DataFrame, alpha: float) -> dict[str, float]:
    """The single figures that MLflow shows: the summary and the mean certified severities."""
    severities = {f"severity/{name}": value for name, value in mean_severities(records).items()}
    return summary_of(records, alpha) | severities


def publish(folder: Path, records: pd.DataFrame, alpha: float) -> None:
    """Write `records.parquet`, `records.csv` and `summary.json`, each as a whole or not at all."""
    with replacing(folder / "records.parquet") as part:
        records.to_parquet(part, index=False)
    write_text(folder / "records.csv", records.to_csv(index=False))
    write_text(folder / "summary.json", json.dumps(summary_of(records, alpha), indent=2) + "\n")


def published_differences(folder: Path, records: pd.DataFrame, alpha: float) -> list[Difference]:
    """Where the files that `publish` wrote do not follow from the records."""

    def check(name: str) -> list[Difference]:
        path = folder / name
        if path.suffix == ".json":
            return differences(name, json.loads(path.read_text()), summary_of(records, alpha))
        if path.suffix == ".csv":
            table = pd.read_csv(path, keep_default_na=False)
            return table_differences(name, table, records)
        return table_differences(name, pd.read_parquet(path), records)

    found = []
    for name in ("records.parquet", "records.csv", "summary.json"):
        try:
            found += check(name)
        except (OSError, ValueError, TypeError, AttributeError) as error:
            found.append(Difference(name, None, "file", f"{type(error).__name__}: {error}", "one that can be read"))
    return found


def comparison_differences(path: Path, run: str, records: pd.DataFrame) -> list[Difference]:
    """Where the row of a run in a `comparison.csv` does not follow from its records; none where it has no row."""
    table = pd.read_csv(path)
    name = f"{path.parent.parent.name}/{path.parent.name}/{path.name}"
    rows = [row for row in table.to_dict("records") if row["run"] == run]
    return [found for row in rows for found in differences(name, row, summarize(records))]


def metric_differences(
    metrics: dict[str, float], per_input: dict[str, dict[int, float]], records: pd.DataFrame, alpha: float
) -> list[Difference]:
    """Where the figures that MLflow shows, single ones and columns by index, do not follow from the records."""
    found = differences("MLflow", metrics, metrics_of(records, alpha))
    for column in PER_INPUT:
        values = per_input.get(column, {})
        for index, expected in zip(records["index"], records[column], strict=True):
            found += differences("MLflow", {column: values.get(index, MISSING)}, {column: expected}, index)
    return found
