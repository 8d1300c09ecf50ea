"""Several runs side by side: `python -m pipelines.report runs=[KEY,KEY]` draws any set of finished runs."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console

from pipelines.errors import SettingsError
from pipelines.told import near, show_dashboard
from rddrs.compat import read_log
from rddrs.files import replacing
from rddrs.records import ComparisonFolder, OutputRoot
from rddrs.report import (
    OpenedRun,
    compare,
    comparison_figures,
    comparison_table,
    in_order,
    left_out,
    literature,
    literature_table,
    log_figure,
    log_summary,
    log_table,
    name_apart,
    open_run,
    paths_figures,
    plane_figures,
    save,
    severity_table,
    write_page,
)


def read_runs(root: OutputRoot, names: list[str]) -> list[OpenedRun]:
    """The finished runs of these names, or of what their names begin with, labelled; raises SettingsError."""
    try:
        return name_apart([open_run(root.run(root.named(name)).path) for name in names])
    except ValueError as error:
        raise SettingsError(f"runs: {error}; there are {root.finished()}") from error


def compare_runs(root: Path, names: list[str], folder: Path | None = None) -> Path:
    """Tables, figures and a page of the named runs below `root`; returns the folder that they are written to.

    What the figures leave out is a note.
    """
    return write_comparison(OutputRoot(root), read_runs(OutputRoot(root), names), folder)


def write_comparison(root: OutputRoot, runs: Sequence[OpenedRun], folder: Path | None = None) -> Path:
    """The same of runs that were read."""
    runs = sorted(runs, key=in_order)
    own = root.comparison(run.name for run in runs)
    places = own if folder is None else ComparisonFolder(folder)
    places.path.mkdir(parents=True, exist_ok=True)
    table = compare(runs)
    with replacing(places.table) as part:
        table.to_csv(part, index=False)
    if len(beside := literature(runs)):
        with replacing(places.literature) as part:
            beside.to_csv(part, index=False)
    (along, alone), (regions, others) = paths_figures(runs), plane_figures(runs)
    figures, notes = comparison_figures(runs) | along | regions, [*left_out(runs), *alone, *others]
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    files = {name: save(figure, places.figures / name)[0] for name, figure in figures.items()}
    title = "Comparison of " + ", ".join(dict.fromkeys(table["label"]))
    write_page(places.page, runs, files, title, left_out=notes)
    return places.path


def show_comparison(folder: Path, runs: Sequence[OpenedRun], experiment: str | None = None) -> None:
    """Print the tables of a comparison of these runs, where it lies, and where a dashboard shows them."""
    console, places = Console(), ComparisonFolder(folder)
    console.print(comparison_table(pd.read_csv(places.table), console.width))
    if (severities := severity_table(sorted(runs, key=in_order), console.width)) is not None:
        console.print(severities)
    if places.literature.exists():
        console.print(literature_table(pd.read_csv(places.literature)))
    console.print(f"written to   {near(folder)}", soft_wrap=True)
    console.print(f"page         {near(places.page)}", soft_wrap=True)
    if experiment is not None:
        show_dashboard(console, places.root.path, experiment)


def show_logs(root: Path, names: list[str], files: list[str]) -> None:
    """Print and draw the curves of logs beside those of runs; raises SettingsError for a file that is no log."""
    runs = read_runs(OutputRoot(root), names)
    curves = {run.label: run.records.assign(radius=run.records["ball_radius"]) for run in runs}
    try:
        curves |= {str(file): read_log(file) for file in files}
    except (OSError, ValueError) as error:
        raise SettingsError(f"logs: {error}") from error
    places = OutputRoot(root).comparison([*(run.name for run in runs), *files])
    places.path.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(log_summary(curves))
    with replacing(places.logs) as part:
        table.to_csv(part, index=False)
    save(log_figure(curves), places.figures / "logs")
    console = Console()
    console.print(log_table(table))
    console.print(f"written to   {near(places.path)}", soft_wrap=True)
