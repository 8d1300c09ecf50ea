"""Several runs side by side: `python -m pipelines.report runs=[KEY,KEY]` draws any set of finished runs."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from pipelines.errors import SettingsError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rddrs.report import Run

UNNAMED = ("sigma", "output_root", "device", "run", "runs", "certify.workers")
"""Keys that do not tell the runs of one noise level apart."""


def read_run(folder: Path) -> "Run":
    """A finished run from its folder; raises SettingsError where there is none."""
    from rddrs.report import open_run

    try:
        return open_run(folder)
    except ValueError as error:
        found = sorted(path.parent.name for path in folder.parent.glob("*/records.parquet"))
        raise SettingsError(f"runs: {error}; there are {found}") from error


def plane_figures(root: Path, runs: "Sequence[Run]") -> "dict[str, Figure]":
    """The decision regions of the first run's classifier, and what the runs of it certify around one input.

    Empty where the inputs are not points of the plane, where no input is certified by all of these runs, and where
    another version, with other keys, made a run.
    """
    from pydantic import ValidationError

    from pipelines.prepare import prepare
    from pipelines.settings import Settings
    from pipelines.train import is_trained, train
    from rddrs.records import Store
    from rddrs.report import region_figure

    first = int(runs[0].records["index"].iloc[0])
    if runs[0].load(first)[0].numel() != 2:
        return {}
    values: Any = OmegaConf.to_container(OmegaConf.create(runs[0].configuration))
    try:
        prepared = prepare(Settings(**values | {"output_root": str(root)}))
    except (ValidationError, SettingsError):
        return {}
    if not is_trained(prepared):
        return {}
    train(prepared)

    def classifier(run: "Run") -> str:
        return Store(root / "runs" / run.name).stated(int(run.records["index"].iloc[0]))["binding"]["classifier"]

    members = [run for run in runs if classifier(run) == prepared.binding.classifier]
    if not members:
        return {}
    shared = set.intersection(*(set(run.records.loc[run.records["radius"] > 0, "index"]) for run in members))
    if not shared:
        return {}
    return {"regions": region_figure(prepared.network.cpu(), members, sorted(shared)[len(shared) // 2])}


def name_apart(runs: "list[Run]") -> "list[Run]":
    """The runs, each labelled with its method and with the values that differ among the runs of this method.

    Where the name of a group differs, its other values go without saying; a run with more values keeps its own name.
    """
    flat = [flatten(OmegaConf.to_container(OmegaConf.create(run.configuration))) for run in runs]
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


def flatten(configuration: Any, prefix: str = "") -> dict[str, Any]:
    """The values that runs of one noise level may differ in, by their dotted keys."""
    values = {}
    for key, value in configuration.items():
        if isinstance(value, dict):
            values |= flatten(value, f"{prefix}{key}.")
        elif f"{prefix}{key}" not in UNNAMED and not prefix.startswith(("audit.", "shard.")):
            values[f"{prefix}{key}"] = value
    return values


def comparison_key(names: list[str]) -> str:
    """The name of a comparison's folder."""
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:10]


def compare_runs(root: Path, names: list[str], folder: Path | None = None) -> Path:
    """Tables, figures and a page of the named runs below `root`; returns the folder that they are written to."""
    from rddrs.files import replacing
    from rddrs.report import compare, comparison_figures, literature, save, write_page

    names = [full_name(root, name) for name in names]
    runs = name_apart([read_run(root / "runs" / name) for name in names])
    folder = folder or root / "comparisons" / comparison_key(names)
    folder.mkdir(parents=True, exist_ok=True)
    table = compare(runs)
    with replacing(folder / "comparison.csv") as part:
        table.to_csv(part, index=False)
    if len(beside := literature(runs)):
        with replacing(folder / "literature.csv") as part:
            beside.to_csv(part, index=False)
    figures = comparison_figures(runs) | plane_figures(root, runs)
    files = {name: save(figure, folder / "figures" / name)[0] for name, figure in figures.items()}
    write_page(folder / "report.html", runs, files, "Comparison of " + ", ".join(dict.fromkeys(table["label"])))
    return folder


def full_name(root: Path, name: str) -> str:
    """The run of this name, or the one whose name begins so; raises SettingsError where there are several."""
    found = sorted(path.parent.name for path in (root / "runs").glob("*/records.parquet"))
    begins = [each for each in found if each.startswith(name)]
    if name in found or not begins:
        return name
    if len(begins) > 1:
        raise SettingsError(f"runs={name}: several begin so: {', '.join(begins)}")
    return begins[0]


def show_logs(root: Path, names: list[str], files: list[str]) -> None:
    """Print and draw the curves of logs beside those of runs; raises SettingsError for a file that is no log."""
    import pandas as pd
    from rich.console import Console

    from rddrs.compat import read_log
    from rddrs.files import replacing
    from rddrs.report import log_figure, log_summary, log_table, save

    names = [full_name(root, name) for name in names]
    runs = name_apart([read_run(root / "runs" / name) for name in names])
    curves = {run.label: run.records.assign(radius=run.records["ball_radius"]) for run in runs}
    try:
        curves |= {str(file): read_log(file) for file in files}
    except (OSError, ValueError) as error:
        raise SettingsError(f"logs: {error}") from error
    folder = root / "comparisons" / hashlib.sha256("\n".join([*names, *files]).encode()).hexdigest()[:10]
    folder.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(log_summary(curves))
    with replacing(folder / "logs.csv") as part:
        table.to_csv(part, index=False)
    save(log_figure(curves), folder / "figures" / "logs")
    console = Console()
    console.print(log_table(table))
    console.print(f"written to   {folder}", soft_wrap=True)


def show_comparison(folder: Path) -> None:
    """Print the tables of a comparison, and where it lies."""
    import pandas as pd
    from rich.console import Console

    from rddrs.report import comparison_table, literature_table

    console = Console()
    console.print(comparison_table(pd.read_csv(folder / "comparison.csv")))
    if (folder / "literature.csv").exists():
        console.print(literature_table(pd.read_csv(folder / "literature.csv")))
    console.print(f"written to   {folder}", soft_wrap=True)
    console.print(f"page         {folder / 'report.html'}", soft_wrap=True)
