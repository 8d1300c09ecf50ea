"""What a run says at its end."""

import shlex

import pandas as pd
from rich.console import Console

from pipelines.prepared import Prepared
from rddrs.records.dashboard import address, database
from rddrs.report import LOW_FIDELITY, closing_table, path_table, summary_of, threat_table


def show_run(prepared: Prepared, records: pd.DataFrame, severities: pd.DataFrame, experiment: str) -> None:
    """Print the tables of a run, where it lies, and where a dashboard shows it."""
    settings, folder = prepared.settings, prepared.run_folder
    summary = summary_of(records, settings.certify.alpha)
    console = Console()
    console.print(closing_table(summary, records, folder.name))
    if "paths" in summary:
        console.print(path_table(summary["paths"]))
    console.print(threat_table(severities, [it.name for it in prepared.threat.perturbations]))
    if summary["fidelity"] < LOW_FIDELITY:
        console.print(
            f"[bold red]warning[/]: these certificates are vacuous: method={settings.method.name} has a mean fidelity "
            f"of {summary['fidelity']:.3f}; its smoothed classifiers answer the same whatever the input is"
        )
    console.print(f"written to   {folder}", soft_wrap=True)
    console.print(f"page         {prepared.places.page}", soft_wrap=True)
    console.print(
        f"dashboard    mlflow ui --backend-store-uri {shlex.quote(database(settings.root))}",
        soft_wrap=True,
        highlight=False,
    )
    console.print(f"             {address(experiment)}", soft_wrap=True, highlight=False)
