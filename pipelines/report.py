"""Stage 3: the records of all shards into tables, figures and MLflow. `python -m pipelines.report`.

With `runs=[KEY,KEY]` it sets finished runs side by side instead.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pipelines.certify import certify, opened_store
from pipelines.compare import compare_runs, plane_figures, show_comparison, show_logs
from pipelines.entry import entry
from pipelines.errors import SettingsError
from pipelines.told import show_run

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from pipelines.prepare import Prepared
    from rddrs.certification import Certificate
    from rddrs.records import Store
    from rddrs.report import Run

PICTURES = 500
"""At most so many inputs of a run are drawn for the dashboard, evenly spaced."""


def report(prepared: "Prepared", complete: bool = False) -> None:
    """Merge the records, draw and log them, print the closing table; raises SettingsError where inputs are missing.

    Nothing is trained or certified for it, but the counterpart under isotropic noise where `complete` is true; then
    what was drawn before, and not changed since, is not drawn again.
    """
    settings = prepared.settings
    if settings.logs:
        return show_logs(settings.root, settings.runs, settings.logs)
    if settings.runs:
        return show_comparison(compare_runs(settings.root, settings.runs))
    refuse_to_begin(prepared)
    store = opened_store(prepared)
    try:
        records = store.records(prepared.indices)
        if settings.certify.mode == "memory":
            records = remember(prepared, store, records)
    except ValueError as error:
        raise SettingsError(f"{store.folder}: {error}") from error
    from rddrs.report.threats import threat_summary

    isotropic = isotropic_run(prepared, complete)
    tested = tested_at(prepared, store, records, settings.threat_at)
    other = isotropic[0].records if isotropic else None
    severities = threat_summary(records, other, settings.threat_at, tested)
    experiment = as_it_was(prepared, store, severities) if complete else None
    if experiment is None:
        experiment = written(prepared, store, records, isotropic, severities)
    show_run(prepared, records, severities, experiment)


def as_it_was(prepared: "Prepared", store: "Store", severities: "pd.DataFrame") -> str | None:
    """The experiment of MLflow that shows the run, where all that a report writes is there and would be the same."""
    from rddrs.records import is_as_written
    from rddrs.records.dashboard import finished_in

    table = store.folder / "severities.csv"
    if not table.exists() or table.read_text() != severities.to_csv(index=False):
        return None
    if not is_as_written(store.folder, prepared.binding, prepared.configuration):
        return None
    return finished_in(prepared.settings.root, store.folder / "mlflow_run_id")


def written(
    prepared: "Prepared", store: "Store", records: "pd.DataFrame", isotropic: "list[Run]", severities: "pd.DataFrame"
) -> str:
    """Write tables, figures, the page and the manifest, and log them; the experiment of MLflow that shows them."""
    from pipelines.build import own_figures
    from rddrs.files import replacing
    from rddrs.records import write_manifest
    from rddrs.records.tracking import Tracker, provenance
    from rddrs.report import (
        PER_INPUT,
        Run,
        evenly,
        metrics_of,
        portrait,
        publish,
        run_figures,
        save,
        severity_metrics,
        write_page,
    )

    settings, alpha = prepared.settings, prepared.settings.certify.alpha
    configuration = (store.folder / "config.yaml").read_text()
    run = Run(store.folder.name, settings.method.name, settings.sigma, records, store.load, configuration)
    publish(store.folder, records, alpha)
    with replacing(store.folder / "severities.csv") as part:
        severities.to_csv(part, index=False)
    figures = run_figures(run, *isotropic) | paths_figure(prepared, run) | sheet_of(prepared, run)
    figures |= plane_figures(settings.root, [run]) | own_figures(settings.figures, run)
    files = {name: save(figure, store.folder / "figures" / name)[0] for name, figure in figures.items()}
    write_page(store.folder / "report.html", [run], files, run.name, severities=severities)

    tags = {"stage": "certify", "method": settings.method.name, "classifier": prepared.classifier_folder.name}
    tracker = Tracker(settings.root, store.folder.name, store.folder / "mlflow_run_id", tags)
    tracker.parameters(settings.model_dump(by_alias=True, exclude={"shard", "output_root", "run"}))
    tracker.tags(provenance())
    tracker.per_input(records, PER_INPUT)
    tracker.metrics(metrics_of(records, alpha) | severity_metrics(severities))
    tracker.link(store.regions.glob("*.safetensors"), "regions")
    tracker.link((store.folder / "scales").glob("*.safetensors"), "scales")
    tracker.link((store.folder / "memory").glob("*.json"), "memory")
    tracker.link((store.folder / "figures").iterdir(), "figures")
    tracker.pictures("input/region", evenly(records, PICTURES), lambda index: portrait(*store.load(index)))
    write_manifest(store.folder, prepared.binding, prepared.configuration)
    names = (
        "config.yaml",
        "manifest.json",
        "records.csv",
        "records.parquet",
        "summary.json",
        "severities.csv",
        "log.tsv",
    )
    tracker.link([store.folder / name for name in (*names, "report.html")], "records")
    tracker.finish()
    return tracker.experiment_id


def refuse_to_begin(prepared: "Prepared") -> None:
    """Raise SettingsError where there is nothing to report of a configuration."""
    from pipelines.train import is_trained

    if prepared.settings.run is None and not (is_trained(prepared) and (prepared.run_folder / "regions").is_dir()):
        runs = sorted(path.parent.name for path in prepared.run_folder.parent.glob("*/records.parquet"))
        others = f"; there are {', '.join(runs[:5])}: runs=[KEY]" if runs else ""
        raise SettingsError(
            f"{prepared.run_folder.name}: nothing is certified with these keys: rddrs run does that first{others}"
        )


def isotropic_run(prepared: "Prepared", make: bool) -> "list[Run]":
    """The counterpart under isotropic noise of a run that is aimed, a run of its own; it is made or left out."""
    from pipelines.prepare import counterpart
    from rddrs.report import open_run

    settings = prepared.settings
    if not prepared.threat.perturbations or (settings.method.name == "rs" and settings.train.name != "covariance"):
        return []
    other = counterpart(prepared)
    if not (other.run_folder / "records.parquet").exists():
        if not make:
            return []
        certify(other)
        report(other)
    return [open_run(other.run_folder)]


def tested_at(
    prepared: "Prepared", store: "Store", records: "pd.DataFrame", asked: "Mapping[str, float]"
) -> "dict[str, list[bool]]":
    """Whether each input's images at just the severities asked are in its region, of what is only tested."""
    import torch

    from rddrs.certification import inside
    from rddrs.report import is_tested

    found = {}
    for it in prepared.threat.reported:
        if it.name in asked and is_tested(records, it.name):
            at = asked[it.name]
            severities = torch.tensor([at, -at] if it.two_sided else [at], dtype=torch.float64)
            spoken: dict[str, Any] = {"clamp": prepared.clamp, "rounding": prepared.rounding}
            certificates = map(claims(prepared, store), records["index"])
            found[it.name] = [bool(inside(each, it, severities, **spoken).all()) for each in certificates]
    return found


def claims(prepared: "Prepared", store: "Store") -> "Callable[[int], Certificate]":
    """The certificate of an input as the run claims it: after the memory where it has one, abstentions included."""
    from rddrs.records import Ledger

    if prepared.settings.certify.mode == "per_input":
        return store.certificate
    return Ledger(store.folder / "memory", store.certificate).claimed


def sheet_of(prepared: "Prepared", run: "Run") -> "dict[str, Figure]":
    """The contact sheet of the right answer in the middle, by the severity of what the scale is aimed at first."""
    from rddrs.report import contact_sheet, picture

    right, aimed = run.records.query("correct"), prepared.threat.perturbations
    if not aimed or right.empty:
        return {}
    order = right[f"severity_{aimed[0].name}"].to_numpy().argsort()
    row = right.iloc[int(order[len(right) // 2])]
    x, _ = run.load(int(row["index"]))
    if picture(x.numpy()) is None:
        return {}
    certified = {it.name: row[f"severity_{it.name}_high"] for it in aimed}
    return {"contact_sheet": contact_sheet(x, certified, aimed, prepared.clamp, prepared.rounding)}


def paths_figure(prepared: "Prepared", run: "Run") -> "dict[str, Figure]":
    """How far the paths are certified, beside the accuracy of the network without noise at the same severities."""
    import numpy as np
    import torch

    from rddrs.certification.cells import Course
    from rddrs.certification.paths import feared
    from rddrs.report import path_figure

    if not prepared.paths:
        return {}
    clean, data, device = {}, prepared.data, prepared.settings.device
    for name, terms in prepared.paths.items():
        if isinstance(terms.low, tuple) or isinstance(terms.high, tuple):
            continue
        severities, right = torch.linspace(terms.low, terms.high, 21, dtype=torch.float64), np.zeros(21)
        for index in prepared.indices:
            x = data.test_inputs[index].to(device)
            images = Course(feared(terms.perturbation), x, terms.clamp).points(severities[:, None].to(device))
            with torch.inference_mode():
                answers = prepared.network(images.to(x.dtype).view(-1, *x.shape)).argmax(dim=1)
            right += (answers == int(data.test_labels[index])).cpu().numpy()
        clean[name] = severities.numpy(), right / len(prepared.indices)
    return {"paths": path_figure([run], clean)}


def remember(prepared: "Prepared", store: "Store", records: "pd.DataFrame") -> "pd.DataFrame":
    """The records after the memory, in the order of the run's indices."""
    import pandas as pd

    from rddrs.records import Ledger, remembered
    from rddrs.trust import Memory

    reference = prepared.data.reference(prepared.settings.data.reference, prepared.settings.seed)
    memory = Memory(Ledger(store.folder / "memory", store.certificate), reference=reference.inputs)
    rows = records.set_index("index", drop=False).to_dict("index")
    found = remembered(
        memory,
        map(store.certificate, sorted(prepared.indices)),
        rows,
        reference,
        prepared.threat.reported,
        prepared.clamp,
        prepared.rounding,
    )
    by_index = {row["index"]: row for row in found}
    return pd.DataFrame([by_index[index] for index in prepared.indices])


if __name__ == "__main__":
    entry(report)()
