"""What a run says at its end."""

import os
import shlex
from pathlib import Path

import pandas as pd
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from rich.console import Console

from pipelines.prepared import Prepared
from rddrs.records.dashboard import address, database
from rddrs.report import LOW_FIDELITY, closing_table, path_table, round_down, summary_of, threat_table


def show_run(
    prepared: Prepared, records: pd.DataFrame, severities: pd.DataFrame, experiment: str, brief: bool = False
) -> None:
    """Print the tables of a run, where it lies, and where a dashboard shows it.

    A job of a sweep leaves severities and dashboard to the sweep's end, and so does a run that is `brief`.
    """
    settings, folder = prepared.settings, prepared.run_folder
    summary = summary_of(records, settings.certify.alpha)
    brief = brief or in_a_sweep()
    console = Console()
    console.print(closing_table(summary, records, folder.name))
    if "paths" in summary:
        console.print(path_table(summary["paths"], console.width))
    if not brief:
        console.print(threat_table(severities, [it.name for it in prepared.threat.perturbations]))
    if "refused" in summary:
        console.print(
            f"[bold]note[/]: for {summary['refused']} of {summary['inputs']} inputs no C but sigma I kept what is "
            "asked for (method.guard): there this run is RS"
        )
    if summary["fidelity"] < LOW_FIDELITY:
        console.print(
            f"[bold red]warning[/]: these certificates are vacuous: method={settings.method.name} has a mean fidelity "
            f"of {round_down(summary['fidelity'])}: noise takes so much of the accuracy of its smoothed classifiers"
        )
    console.print(f"written to   {near(folder)}", soft_wrap=True)
    console.print(f"page         {near(prepared.places.page)}", soft_wrap=True)
    if not brief:
        show_dashboard(console, settings.root, experiment)


def show_shard(prepared: Prepared) -> None:
    """Print what is certified after a shard; a job of a sweep leaves that to the sweep's end."""
    if not in_a_sweep():
        told = "every input is certified: rddrs report, with the same words, reports them"
        if left := prepared.left:
            told = left_to_others(prepared, left)
        Console().print(f"{prepared.run_folder.name}: {told}", soft_wrap=True, highlight=False)


def left_to_others(prepared: Prepared, left: set[int]) -> str:
    """How many inputs are certified, and the shards to which those that are left belong."""
    count, every = prepared.settings.shard.count, len(prepared.indices)
    others = [str(place) for place in range(count) if not left.isdisjoint(prepared.indices[place::count])]
    return f"{every - len(left)} of {every} inputs are certified; the others are left to shard.index={','.join(others)}"


def in_a_sweep() -> bool:
    """Whether this is a job of a multirun."""
    return HydraConfig.initialized() and HydraConfig.get().mode is RunMode.MULTIRUN


def show_dashboard(console: Console, root: Path, experiment: str) -> None:
    """Print the command of the dashboard, from here, and where it shows the runs."""
    below = root.resolve().is_relative_to(Path.cwd())
    uri = shlex.quote(f"sqlite:///{near(root / 'mlflow.db')}" if below else database(root))
    console.print(f"dashboard    mlflow ui --backend-store-uri {uri}", soft_wrap=True, highlight=False)
    console.print(f"             {address(experiment)}", soft_wrap=True, highlight=False)


def near(path: Path) -> str:
    """A path from here, where it lies below."""
    found = os.path.relpath(path)
    return str(path) if found.startswith("..") else found
