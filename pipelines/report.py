"""Stage 3: the records of all shards into tables, figures and MLflow. `python -m pipelines.report`.

With `runs=[KEY,KEY]` it sets finished runs side by side instead.
"""

import json
import shlex
from typing import TYPE_CHECKING

from pipelines.compare import compare_runs, plane_figures
from pipelines.entry import entry
from pipelines.errors import SettingsError

if TYPE_CHECKING:
    import pandas as pd

    from pipelines.prepare import Prepared
    from rddrs.records import Store

PER_INPUT = [
    *("radius", "proxy_radius", "ball_radius", "p_lower", "scale_min", "scale_max", "log_det", "sigma_x"),
    *("fidelity", "contradictions", "correct", "prediction", "optimize_seconds", "certify_seconds"),
]
PICTURES = 500
"""At most so many inputs of a run are drawn for the dashboard, evenly spaced."""


def report(prepared: "Prepared") -> None:
    """Merge the records, draw and log them, print the closing table; raises SettingsError where inputs are missing."""
    import pandas as pd
    from rich.console import Console

    from rddrs.files import replacing, write_text
    from rddrs.records import Store
    from rddrs.records.tracking import Tracker, database, provenance
    from rddrs.report import (
        LOW_FIDELITY,
        Run,
        closing_table,
        comparison_table,
        evenly,
        mean_severities,
        portrait,
        run_figures,
        save,
        severity_figure,
        severity_table,
        summarize,
        write_page,
    )

    settings = prepared.settings
    if settings.runs:
        folder = compare_runs(settings.root, settings.runs)
        Console().print(comparison_table(pd.read_csv(folder / "comparison.csv")))
        Console().print(f"written to   {folder}", soft_wrap=True)
        return
    store = Store(settings.run_folder)
    try:
        records = store.records(prepared.indices)
    except ValueError as error:
        raise SettingsError(f"{store.folder}: {error}") from error
    if settings.certify.mode == "memory":
        records = remember(prepared, store, records)
    summary = summarize(records) | {"expected_false_certificates": settings.certify.alpha * len(records)}
    configuration = (store.folder / "config.yaml").read_text()
    run = Run(store.folder.name, settings.method.name, settings.sigma, records, store.load, configuration)
    with replacing(store.folder / "records.parquet") as part:
        records.to_parquet(part, index=False)
    write_text(store.folder / "records.csv", records.to_csv(index=False))
    write_text(store.folder / "summary.json", json.dumps(summary, indent=2) + "\n")
    figures = run_figures(run) | {"severities": severity_figure([run])} | plane_figures(settings.root, [run])
    for name, figure in figures.items():
        save(figure, store.folder / "figures" / name)
    page = write_page(store.folder / "report.html", [run], figures, run.name)

    tags = {"stage": "certify", "method": settings.method.name, "classifier": settings.classifier_folder.name}
    tracker = Tracker(settings.root, store.folder.name, store.folder / "mlflow_run_id", tags)
    tracker.parameters(settings.model_dump(by_alias=True, exclude={"shard", "output_root"}))
    tracker.tags(provenance())
    tracker.per_input(records, PER_INPUT)
    tracker.metrics(summary)
    tracker.metrics({f"severity/{name}": value for name, value in mean_severities(records).items()})
    tracker.link(store.regions.glob("*.safetensors"), "regions")
    tracker.link((store.folder / "figures").iterdir(), "figures")
    tracker.pictures("input/region", evenly(records, PICTURES), lambda index: portrait(*store.load(index)))
    names = ("config.yaml", "records.csv", "records.parquet", "summary.json", "report.html")
    tracker.link([store.folder / name for name in names], "records")
    tracker.finish()

    console = Console()
    console.print(closing_table(summary, records, store.folder.name))
    console.print(severity_table(records))
    if summary["fidelity"] < LOW_FIDELITY:
        console.print(
            f"[bold red]warning[/]: these certificates are vacuous: method={settings.method.name} has a mean fidelity "
            f"of {summary['fidelity']:.3f}; its smoothed classifiers answer the same whatever the input is"
        )
    console.print(f"written to   {store.folder}", soft_wrap=True)
    console.print(f"page         {page}", soft_wrap=True)
    console.print(
        f"dashboard    mlflow ui --backend-store-uri {shlex.quote(database(settings.root))}",
        soft_wrap=True,
        highlight=False,
    )
    console.print(f"             {tracker.address}", soft_wrap=True, highlight=False)


def remember(prepared: "Prepared", store: "Store", records: "pd.DataFrame") -> "pd.DataFrame":
    """The records after the memory: what it leaves of every certificate, in the order of the indices, and why."""
    import pandas as pd

    from rddrs.certification import certified_severities
    from rddrs.records import Ledger, measures
    from rddrs.trust import Memory, admit_in_order, contradictions

    reference = prepared.data.reference(prepared.settings.data.reference, prepared.settings.seed)
    memory = Memory(Ledger(store.folder / "memory", store.certificate), reference=reference.inputs)
    rows = records.set_index("index", drop=False).to_dict("index")
    for outcome in admit_in_order(memory, map(store.certificate, sorted(prepared.indices))):
        left, row = outcome.certificate, rows[outcome.certificate.index]
        severities = certified_severities(left) if outcome.reason else {}
        row |= measures(left) | {
            "correct": left.prediction == row["label"],
            "contradictions": contradictions(left, reference),
            "mode": "memory",
            "raw_radius": outcome.raw_radius,
            "raw_prediction": outcome.raw_prediction,
            "memory": outcome.reason,
            **{f"severity_{name}": value for name, value in severities.items()},
        }
    return pd.DataFrame([rows[index] for index in prepared.indices])


if __name__ == "__main__":
    entry(report)()
