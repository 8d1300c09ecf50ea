"""Runs side by side: what each is called, and whether the tables of a comparison follow from the records."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from rddrs.records.inventory import SIDE_BY_SIDE, strangers
from rddrs.records.run_folder import ComparisonFolder
from rddrs.records.stated import Difference, as_read, flattened, reading_differences, table_differences
from rddrs.report.literature import literature
from rddrs.report.run import OpenedRun, open_run
from rddrs.report.tables import compare, distribution

UNNAMED = ("sigma", "output_root", "device", "run", "runs", "certify.workers")
"""Keys that do not tell the runs of one noise level apart."""


def name_apart(runs: Sequence[OpenedRun]) -> list[OpenedRun]:
    """The runs, each labelled with its method and with the values that differ among the runs of this method.

    Where the name of a group differs, its other values go without saying; a run with more values keeps its own name.
    """
    flat = [told_of(run) for run in runs]
    named = []
    for run, values in zip(runs, flat, strict=True):
        alike = [other for other in flat if other["method.name"] == run.method]
        differing = [key for key, value in values.items() if any(other.get(key) != value for other in alike)]
        groups = [key.removesuffix("name") for key in differing if key.endswith(".name")]
        told = {key.removesuffix(".name"): values[key] for key in differing
                if key.endswith(".name") or not key.startswith(tuple(groups))}  # fmt: skip
        label = " ".join([run.method, *(f"{key.removeprefix('method.')}={value}" for key, value in told.items())])
        named.append(replace(run, label=label if len(told) <= 4 else run.name))
    return named


def told_of(run: OpenedRun) -> dict[str, Any]:
    """The values that runs of one noise level may differ in, by their dotted keys."""
    values = flattened(run.stated).items()
    told = {key: it for key, it in values if key not in UNNAMED and not key.startswith(("audit.", "shard."))}
    return {key: it for key, it in told.items() if it != {}}


def comparison_differences(folder: ComparisonFolder, run: str, records: pd.DataFrame) -> list[Difference]:
    """Where the files of a comparison that has the run do not follow; of the other runs, from their own records."""
    place = f"{folder.path.parent.name}/{folder.name}"

    def differing(path: Path, column: str, *pair: object) -> Difference:
        return Difference(f"{place}/{path.relative_to(folder.path).as_posix()}", None, column, *pair)

    def tables() -> list[Difference]:
        stated = pd.read_csv(folder.table)
        names = [str(name) for name in stated["run"]]
        found = []
        if folder.path.parent == folder.root.comparisons and folder.root.comparison(names) != folder:
            found.append(differing(folder.table, "run", names, "the runs that its folder is named after"))
        if run not in names:
            return found
        runs = [open_run(folder.root.run(name).path) for name in names]
        runs = name_apart([replace(it, records=records) if it.name == run else it for it in runs])
        for path, table in {folder.table: compare(runs), folder.literature: literature(runs)}.items():
            if path.exists():
                read = pd.read_csv(path)
                later = [name for name in distribution(records) if name in table and name not in read]  # than 0.8.0
                found += table_differences(f"{place}/{path.name}", read, as_read(table.drop(columns=later)), "run")
        files = {it.relative_to(folder.path).as_posix(): it for it in folder.path.rglob("*") if it.is_file()}
        odd = strangers((name for name, path in files.items() if path.name[0] != "."), SIDE_BY_SIDE)
        return found + [differing(files[name], "file", "a file", "nothing") for name in odd]

    return reading_differences(f"{place}/{folder.table.name}", tables)
