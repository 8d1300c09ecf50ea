"""Stage 3: the records of all shards into tables, figures and MLflow. `python -m pipelines.report`.

With `runs=[KEY,KEY]` it sets finished runs side by side instead.
"""

from pipelines.entry import entry

if __name__ == "__main__":  # the configuration is read before torch is imported
    entry("report")()

import pandas as pd

from pipelines.compare import read_runs, show_comparison, show_logs, write_comparison
from pipelines.errors import SettingsError
from pipelines.importing import uncollected
from pipelines.prepared import Prepared
from pipelines.told import show_run
from pipelines.train import train
from rddrs.records import claims, is_as_written, remembered_records
from rddrs.records.dashboard import finished_in
from rddrs.report import OpenedRun, open_run, tested_at, threat_summary


def report(prepared: Prepared, anew: bool = True, brief: bool = False) -> None:
    """Merge the records, draw and log them, print the closing table; raises SettingsError where inputs are missing.

    Nothing is trained or certified for it. What stands beside its counterpart does so if that is finished. What was
    written before, and not changed since, is written again where `anew` is true. `brief` says less at the end.
    """
    settings = prepared.settings
    if settings.logs:
        return show_logs(settings.root, settings.runs, settings.logs)
    if settings.runs:
        runs = read_runs(prepared.root, settings.runs)
        return show_comparison(write_comparison(prepared.root, runs), runs)
    refuse_to_begin(prepared)
    train(prepared)
    records, isotropic = merged(prepared), counterpart_of(prepared)
    severities = severities_of(prepared, records, isotropic)
    experiment = None if anew else as_it_was(prepared, severities)
    if experiment is None:
        with uncollected():  # MLflow takes a second to import
            from pipelines.written import write_run

        experiment = write_run(prepared, records, severities, isotropic)
    show_run(prepared, records, severities, experiment, brief)


def refuse_to_begin(prepared: Prepared) -> None:
    """Raise SettingsError where there is nothing to report of a configuration."""
    prepared.refuse_a_folder()
    if not (prepared.is_trained and prepared.places.regions.is_dir()):
        runs = prepared.root.finished()
        others = f"; there are {', '.join(runs[:5])}: runs=[KEY]" if runs else ""
        raise SettingsError(
            f"{prepared.run_folder.name}: nothing is certified with these keys: rddrs run does that first{others}"
        )


def merged(prepared: Prepared) -> pd.DataFrame:
    """The records of all inputs, after the memory where there is one, in the order of the run's indices."""
    try:
        records = prepared.store.records(prepared.indices)
        if prepared.settings.certify.mode == "per_input":
            return records
        reference = prepared.data.reference(prepared.settings.data.reference, prepared.settings.seed)
        spoken = (prepared.threat.reported, prepared.clamp, prepared.rounding)
        return remembered_records(prepared.store, records, reference, *spoken)
    except ValueError as error:
        raise SettingsError(f"{prepared.run_folder}: {error}") from error


def counterpart_of(prepared: Prepared) -> OpenedRun | None:
    """The counterpart under isotropic noise, a run of its own, where there is one and it is finished."""
    if not (prepared.is_compared and prepared.counterpart.places.is_finished):
        return None
    return open_run(prepared.counterpart.run_folder)


def severities_of(prepared: Prepared, records: pd.DataFrame, isotropic: OpenedRun | None) -> pd.DataFrame:
    """The table of the severities, beside those of isotropic noise."""
    asked, claimed = prepared.settings.threat_at, claims(prepared.store, prepared.settings.certify.mode)
    tested = tested_at(asked, records, claimed, prepared.threat.reported, prepared.clamp, prepared.rounding)
    return threat_summary(records, None if isotropic is None else isotropic.records, asked, tested)


def as_it_was(prepared: Prepared, severities: pd.DataFrame) -> str | None:
    """The experiment of MLflow that shows the run, where all that a report writes is there and would be the same."""
    places = prepared.places
    if not places.severities.exists() or places.severities.read_text() != severities.to_csv(index=False):
        return None
    if prepared.settings.figures or not is_as_written(places.path, prepared.binding, prepared.configuration):
        return None
    return finished_in(prepared.settings.root, places.mlflow_run)
