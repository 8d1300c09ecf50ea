"""What people read of a run, against what follows from its certificates: the part of the audit without samples."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from pipelines.prepared import Prepared
from pipelines.settings.settings import LATER
from rddrs.records import (
    ANYWHERE,
    Difference,
    Store,
    claims,
    differences,
    flattened,
    provenance,
    reading_differences,
)
from rddrs.records.tracking import DIGITS, namesakes, parameters_of, provenance_tags, seen_in
from rddrs.report import (
    compared_columns,
    compared_metrics,
    comparison_differences,
    logged_differences,
    published_differences,
    tested_at,
)

Counterpart = Callable[[], tuple[pd.DataFrame | None, list[Difference]]]
"""The records that follow from the counterpart under isotropic noise, if it is here, and where its files differ."""


def shown(prepared: Prepared, records: pd.DataFrame, counterpart: Counterpart) -> tuple[list[Difference], list[str]]:
    """Where tables, summary, comparisons and MLflow do not follow, and what cannot be said here."""
    settings, places = prepared.settings, prepared.places
    folder = places.path
    alpha = settings.certify.alpha
    seen, wrong, notes = seen_in(prepared.root, places), [], []
    if isinstance(seen, Difference):
        seen, wrong = None, [seen]
    try:
        columns = {*pd.read_csv(places.severities, nrows=0)}
    except (OSError, ValueError):  # it is named below
        columns = set()
    isotropic, left_out = None, set()
    if compared_columns(records) & columns or (seen and compared_metrics(records) & {*seen.metrics}):
        isotropic, found = counterpart()
        wrong += found
        if isotropic is None and settings.run is not None:
            left_out = compared_columns(records)
            notes.append(f"severities.csv: {', '.join(sorted(left_out))} are not audited: the counterpart is not here")
    claimed = claims(Store(folder), settings.certify.mode)
    spoken = (claimed, prepared.threat.reported, prepared.clamp, prepared.rounding)

    def tested(asked: Mapping[str, float]) -> dict[str, list[bool]]:
        return tested_at(asked, records, *spoken)

    wrong += published_differences(folder, records, isotropic, alpha, left_out, tested)
    if places.is_below(prepared.root):
        for comparison in prepared.root.side_by_side():
            wrong += comparison_differences(comparison, places.name, records)
    if seen:
        parameters = parameters_of(prepared.shown_settings)
        tags = provenance_tags(provenance(folder)) | {"mlflow.runName": folder.name, "stage": "certify"}
        tags["run status"] = "FINISHED"
        tags |= {"method": settings.method.name, "classifier": prepared.classifier_folder.name, "run name": folder.name}
        if "dataset" in seen.tags:
            tags["dataset"] = f"{settings.data.name} {prepared.binding.data[:DIGITS]}"
        if settings.run is not None:  # the key of a classifier that is given is another
            tags["classifier"] = seen.tags.get("classifier", "")
        free = partial(without_places, prepared)
        stated = replace(seen, parameters=free(parameters_of(LATER) | seen.parameters))
        check = partial(logged_differences, stated, folder, records, isotropic, alpha, free(parameters), tags, tested)
        wrong += reading_differences("MLflow", check)
        if others := namesakes(places):
            notes.append(f"MLflow shows other runs of this name, which are not audited: {', '.join(others)}")
    return wrong, notes


def without_places(prepared: Prepared, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, by dotted names, of the keys that a result depends on."""
    free = (*ANYWHERE, *(f"method.{name}" for name in prepared.method.contents))
    free += () if "threat" in prepared.configuration else ("threat",)
    return {name: value for name, value in values.items() if not f"{name}.".startswith(tuple(f"{it}." for it in free))}


def stated_settings(prepared: Prepared) -> list[Difference]:
    """Where `config.yaml` states another configuration than the audit's."""

    def check() -> list[Difference]:
        stated: Any = OmegaConf.to_container(OmegaConf.load(prepared.places.configuration))
        expected = prepared.settings.model_dump(by_alias=True)
        left, right = (without_places(prepared, values) for values in (LATER | flattened(stated), flattened(expected)))
        return differences("config.yaml", left, right)

    return reading_differences("config.yaml", check)
