"""What people read of a run, against what follows from its certificates: the part of the audit without samples."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from pipelines.compare import comparison_key, name_apart, read_run
from pipelines.report import tested_at

if TYPE_CHECKING:
    import pandas as pd

    from pipelines.prepare import Prepared
    from rddrs.records import Difference
    from rddrs.records.tracking import Logged

Counterpart = Callable[[], "tuple[pd.DataFrame | None, list[Difference]]"]
"""The records that follow from the counterpart under isotropic noise, if it is here, and where its files differ."""


def shown(
    prepared: "Prepared", records: "pd.DataFrame", counterpart: Counterpart
) -> "tuple[list[Difference], list[str]]":
    """Where tables, summary, comparisons and MLflow do not follow, and what cannot be said here."""
    import pandas as pd

    from rddrs.records import Difference, Store, provenance, reading_differences
    from rddrs.records.tracking import parameters_of, provenance_tags
    from rddrs.report import compared_columns, compared_metrics, logged_differences, published_differences

    settings, folder = prepared.settings, prepared.run_folder
    alpha = settings.certify.alpha
    logged, wrong, notes = in_mlflow(prepared), [], []
    if isinstance(logged, Difference):
        logged, wrong = None, [logged]
    try:
        columns = {*pd.read_csv(folder / "severities.csv", nrows=0)}
    except (OSError, ValueError):  # it is named below
        columns = set()
    isotropic, left_out = None, set()
    if compared_columns(records) & columns or (logged and compared_metrics(records) & {*logged.metrics}):
        isotropic, found = counterpart()
        wrong += found
        if isotropic is None and settings.run is not None:
            left_out = compared_columns(records)
            notes.append(f"severities.csv: {', '.join(sorted(left_out))} are not audited: the counterpart is not here")
    tested = partial(tested_at, prepared, Store(folder), records)
    wrong += published_differences(folder, records, isotropic, alpha, left_out, tested)
    if in_place(prepared):
        for path in sorted(settings.root.glob("*/*/comparison.csv")):
            wrong += side_by_side(path, folder.name, records)
    if logged:
        parameters = parameters_of(shown_settings(prepared))
        tags = provenance_tags(provenance(folder)) | {"mlflow.runName": folder.name, "stage": "certify"}
        tags |= {"method": settings.method.name, "classifier": prepared.classifier_folder.name}
        if settings.run is not None:  # the key of a classifier that is given is another
            tags["classifier"] = logged.tags.get("classifier", "")
        free = partial(without_places, prepared)
        stated = replace(logged, parameters=free(logged.parameters))
        check = partial(logged_differences, stated, folder, records, isotropic, alpha, free(parameters), tags, tested)
        wrong += reading_differences("MLflow", check)
    return wrong, notes


def in_place(prepared: "Prepared") -> bool:
    """Whether the run lies below the root, where comparisons and MLflow know it."""
    return prepared.run_folder.resolve().parent == (prepared.settings.root / "runs").resolve()


def in_mlflow(prepared: "Prepared") -> "Logged | Difference | None":
    """What MLflow shows of the run, if there is MLflow here; the difference where it does not know the run."""
    from rddrs.records import Difference
    from rddrs.records.tracking import logged

    note, root = prepared.run_folder / "mlflow_run_id", prepared.settings.root
    if not (in_place(prepared) and (root / "mlflow.db").exists()):
        return None
    try:
        return logged(root, note.read_text())
    except (OSError, ValueError) as error:
        return Difference("mlflow_run_id", None, "file", str(error), "the run's id in MLflow")


def side_by_side(path: Path, run: str, records: "pd.DataFrame") -> "list[Difference]":
    """Where the files of a comparison that has the run do not follow; of the other runs, from their own records."""
    import pandas as pd

    from rddrs.records import SIDE_BY_SIDE, Difference, as_read, reading_differences, strangers, table_differences
    from rddrs.report import compare, literature

    folder = path.parent
    place = f"{folder.parent.name}/{folder.name}"

    def tables() -> "list[Difference]":
        stated = pd.read_csv(path)
        names = [str(name) for name in stated["run"]]
        found = []
        if folder.parent.name == "comparisons" and comparison_key(names) != folder.name:
            found.append(
                Difference(f"{place}/{path.name}", None, "run", names, "the runs that its folder is named after")
            )
        if run not in names:
            return found
        runs = [read_run(path.parents[2] / "runs" / name) for name in names]
        runs = name_apart([replace(it, records=records) if it.name == run else it for it in runs])
        expected = {path: compare(runs), folder / "literature.csv": literature(runs)}
        for file, table in expected.items():
            if file.exists():
                found += table_differences(f"{place}/{file.name}", pd.read_csv(file), as_read(table), "run")
        files = (it.relative_to(folder).as_posix() for it in folder.rglob("*") if it.is_file() and it.name[0] != ".")
        odd = strangers(files, SIDE_BY_SIDE)
        return found + [Difference(f"{place}/{name}", None, "file", "a file", "nothing") for name in odd]

    return reading_differences(f"{place}/{path.name}", tables)


def shown_settings(prepared: "Prepared") -> dict[str, Any]:
    """The settings as they stand in MLflow."""
    return prepared.settings.model_dump(by_alias=True, exclude={"shard", "output_root", "run"})


def without_places(prepared: "Prepared", values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, by dotted names, of the keys that a result depends on."""
    from rddrs.records import ANYWHERE

    free = (*ANYWHERE, *(f"method.{name}" for name in prepared.method.contents))
    free += () if "threat" in prepared.configuration else ("threat",)
    return {name: value for name, value in values.items() if not f"{name}.".startswith(tuple(f"{it}." for it in free))}


def stated_settings(prepared: "Prepared") -> "list[Difference]":
    """Where `config.yaml` states another configuration than the audit's."""
    from rddrs.records import differences, flattened, reading_differences

    def check() -> "list[Difference]":
        stated: Any = OmegaConf.to_container(OmegaConf.load(prepared.run_folder / "config.yaml"))
        expected = prepared.settings.model_dump(by_alias=True)
        left, right = (without_places(prepared, flattened(values)) for values in (stated, expected))
        return differences("config.yaml", left, right)

    return reading_differences("config.yaml", check)


def made_elsewhere(prepared: "Prepared") -> list[str]:
    """What of the run's commit and versions is not so here, in one line; nothing where all is."""
    from rddrs.records import provenance, versions
    from rddrs.records.manifest import commit

    stated, here = provenance(prepared.run_folder), {"commit": commit(), **versions()}
    other = [f"{name} {stated.get(name)} (here {value})" for name, value in here.items() if stated.get(name) != value]
    return [f"the manifest says that the run was made with {', '.join(other)}"] if other else []
