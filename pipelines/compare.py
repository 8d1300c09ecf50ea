"""Several runs side by side: `python -m pipelines.report runs=[KEY,KEY]` draws any set of finished runs."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from pipelines.config import SettingsError

if TYPE_CHECKING:
    from rddrs.report import Run

UNNAMED = ("sigma", "output_root", "device", "runs", "certify.workers")
"""Keys that do not tell the runs of one noise level apart."""


def read_run(folder: Path) -> "Run":
    """A finished run from its folder; raises SettingsError where there is none."""
    import pandas as pd

    from rddrs.report import Run
    from rddrs.store import Store

    if not (folder / "records.parquet").exists():
        found = sorted(path.parent.name for path in folder.parent.glob("*/records.parquet"))
        raise SettingsError(f"runs: {folder.name} is no finished run in {folder.parent}; there are {found}")
    text = (folder / "config.yaml").read_text()
    configuration = OmegaConf.create(text)
    records = pd.read_parquet(folder / "records.parquet")
    return Run(folder.name, configuration.method.name, configuration.sigma, records, Store(folder).load, text)


def name_apart(runs: "list[Run]") -> "list[Run]":
    """The runs, each labelled with its method and with the values that differ among the runs of this method."""
    flat = [flatten(OmegaConf.to_container(OmegaConf.create(run.configuration))) for run in runs]
    named = []
    for run, values in zip(runs, flat, strict=True):
        alike = [other for other in flat if other["method.name"] == run.method]
        differing = [key for key, value in values.items() if any(other.get(key) != value for other in alike)]
        label = " ".join([run.method, *(f"{key.removeprefix('method.')}={values[key]}" for key in differing)])
        named.append(replace(run, label=label if len(differing) <= 3 else run.name))
    return named


def flatten(configuration: Any, prefix: str = "") -> dict[str, Any]:
    """The values that runs of one noise level may differ in, by their dotted keys."""
    values = {}
    for key, value in configuration.items():
        if isinstance(value, dict):
            values |= flatten(value, f"{prefix}{key}.")
        elif f"{prefix}{key}" not in UNNAMED and not prefix.startswith(("audit.", "shard.")):
            values[f"{prefix}{key}"] = value
    return values


def compare_runs(root: Path, names: list[str], folder: Path | None = None) -> Path:
    """Tables, figures and a page of the named runs below `root`; returns the folder that they are written to."""
    from rddrs.report import compare, comparison_figures, save, severity_figure, write_page
    from rddrs.store import replacing

    runs = name_apart([read_run(root / "runs" / name) for name in names])
    folder = folder or root / "comparisons" / hashlib.sha256("\n".join(names).encode()).hexdigest()[:10]
    folder.mkdir(parents=True, exist_ok=True)
    table = compare(runs)
    with replacing(folder / "comparison.csv") as part:
        table.to_csv(part, index=False)
    figures = comparison_figures(runs) | {"severities": severity_figure(runs)}
    for name, figure in figures.items():
        save(figure, folder / "figures" / name)
    write_page(folder / "report.html", runs, figures, "Comparison of " + ", ".join(dict.fromkeys(table["label"])))
    return folder
