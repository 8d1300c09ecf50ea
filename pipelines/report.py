"""Stage 3: the records of all shards into tables, figures and MLflow. `python -m pipelines.report`."""

import json
import shlex
from typing import TYPE_CHECKING

from pipelines.entry import entry

if TYPE_CHECKING:
    from pipelines.prepare import Prepared

PER_INPUT = [
    *("radius", "proxy_radius", "ball_radius", "p_lower", "scale_min", "scale_max", "log_det", "sigma_x"),
    *("fidelity", "contradictions", "correct", "prediction", "optimize_seconds", "certify_seconds"),
]


def report(prepared: "Prepared") -> None:
    """Merge the records, draw and log them, print the closing table; raises SettingsError where inputs are missing."""
    from rich.console import Console

    from pipelines.config import SettingsError
    from rddrs.report import Run, closing_table, run_figures, save, summarize
    from rddrs.store import Store, replacing, write_text
    from rddrs.tracking import Tracker, database, provenance

    settings = prepared.settings
    store = Store(settings.run_folder)
    try:
        records = store.records(prepared.indices)
    except ValueError as error:
        raise SettingsError(f"{store.folder}: {error}") from error
    summary = summarize(records)
    run = Run(store.folder.name, settings.method.name, settings.sigma, records, store.load)
    with replacing(store.folder / "records.parquet") as part:
        records.to_parquet(part, index=False)
    write_text(store.folder / "summary.json", json.dumps(summary, indent=2) + "\n")
    for name, figure in run_figures(run).items():
        save(figure, store.folder / "figures" / name)

    tags = {"stage": "certify", "method": settings.method.name, "classifier": settings.classifier_folder.name}
    tracker = Tracker(settings.root, store.folder.name, store.folder / "mlflow_run_id", tags)
    tracker.parameters(settings.model_dump(by_alias=True, exclude={"shard", "output_root"}))
    tracker.tags(provenance())
    tracker.per_input(records, PER_INPUT)
    tracker.metrics(summary)
    tracker.link(store.regions.glob("*.safetensors"), "regions")
    tracker.link((store.folder / "figures").iterdir(), "figures")
    tracker.link([store.folder / name for name in ("config.yaml", "records.parquet", "summary.json")], "records")
    tracker.finish()

    console = Console()
    console.print(closing_table(summary, records, store.folder.name))
    if summary["fidelity"] < 0.9:
        console.print(
            f"[bold red]warning[/]: these certificates are vacuous: method={settings.method.name} has a mean fidelity "
            f"of {summary['fidelity']:.3f}; its smoothed classifiers answer the same whatever the input is"
        )
    console.print(f"written to   {store.folder}", soft_wrap=True)
    console.print(
        f"dashboard    mlflow ui --backend-store-uri {shlex.quote(database(settings.root))}",
        soft_wrap=True,
        highlight=False,
    )


if __name__ == "__main__":
    entry(report)()
