"""What a run shows: tables, figures, a page, a manifest, and all of it in MLflow."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from numpy import ndarray

from pipelines.again import command_of
from pipelines.errors import SettingsError
from pipelines.importing import imported, uncollected
from pipelines.prepared import Prepared
from rddrs.files import replacing
from rddrs.records import write_manifest
from rddrs.records.tracking import Tracker, provenance
from rddrs.report import (
    SHOWN,
    Drawn,
    OpenedRun,
    clean_accuracy,
    curves_of,
    evenly,
    headline,
    metrics_of,
    open_run,
    path_figure,
    plane_figures,
    portrait,
    publish,
    run_figures,
    save,
    severity_metrics,
    sheet_of,
    write_page,
)


def write_run(prepared: Prepared, records: pd.DataFrame, severities: pd.DataFrame, isotropic: OpenedRun | None) -> str:
    """Write tables, figures, the page and the manifest, and log them; the experiment of MLflow that shows them."""
    places = prepared.places
    publish(places.path, records, prepared.settings.certify.alpha)
    with replacing(places.severities) as part:
        severities.to_csv(part, index=False)
    run = open_run(places.path)
    figures, left_out = figures_of(prepared, run, isotropic)
    files = {name: save(figure, places.figures / name)[0] for name, figure in figures.items()}
    begun = datetime.fromtimestamp(places.configuration.stat().st_mtime)
    words: dict[str, Any] = {"command": command_of(prepared.settings), "made": f"{begun:%-d %B %Y}"}
    words["left_out"] = left_out
    write_page(places.page, [run], files, run.name, severities=severities, isotropic=isotropic, **words)
    write_manifest(places.path, prepared.binding, prepared.configuration)
    return track(prepared, run, severities)


def figures_of(prepared: Prepared, run: OpenedRun, isotropic: OpenedRun | None) -> Drawn:
    """The figures of the run by their names, and what they leave out."""
    figures = run_figures(run, *([isotropic] if isotropic else []))
    if prepared.paths:
        figures |= {
            "paths": path_figure([run], {(run.name, name): clean_of(prepared, name) for name in prepared.paths})
        }
    figures |= sheet_of(run, prepared.threat.perturbations, prepared.clamp, prepared.rounding)
    regions, left_out = plane_figures([run], prepared.network)
    return figures | regions | own_figures(prepared.settings.figures, run), left_out


def clean_of(prepared: Prepared, name: str) -> tuple[ndarray, ndarray] | None:
    """The accuracy of the network along a path, without noise."""
    labelled = ((x.to(prepared.settings.device), label) for _, x, label in prepared.labelled())
    return clean_accuracy(prepared.network, labelled, prepared.paths[name])


def track(prepared: Prepared, run: OpenedRun, severities: pd.DataFrame) -> str:
    """The run in MLflow; returns its experiment."""
    settings, places, records = prepared.settings, prepared.places, run.records
    tags = {"stage": "certify", "method": settings.method.name, "classifier": prepared.classifier_folder.name}
    with uncollected():  # MLflow imports its store when a client is made
        tracker = Tracker(settings.root, places.name, places.mlflow_run, tags)
    tracker.parameters(prepared.shown_settings)
    tracker.tags(provenance())
    tracker.metrics(metrics_of(records, settings.certify.alpha) | severity_metrics(severities))
    tracker.curves(curves_of(records))
    tracker.link(places.regions.glob("[!.]*"), "regions")
    tracker.link(places.scales.glob("*.safetensors"), "scales")
    tracker.link(places.memory.glob("[!.]*"), "memory")
    tracker.link(places.figures.glob("[!.]*"), "figures")
    tracker.pictures("input/region", evenly(records, SHOWN), lambda index: portrait(*run.load(index)))
    tables = [places.records, places.records_csv, places.summary, places.severities, places.log]
    tracker.link([places.configuration, places.manifest, *tables, places.page], "records")
    tracker.describe(". ".join(headline([run])), settings.data.name, prepared.binding.data)
    tracker.finish()
    return tracker.experiment_id


def own_figures(names: Sequence[str], run: OpenedRun) -> dict[str, Figure]:
    """The figures that a user's functions make of a run, by the names of the functions; raises SettingsError."""
    figures = {name.rpartition(".")[2]: imported(name)(run) for name in names}
    for name, figure in figures.items():
        if not isinstance(figure, Figure):
            raise SettingsError(f"figures: {name} gives no matplotlib.figure.Figure: {type(figure)}")
    return figures
