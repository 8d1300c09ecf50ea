"""Runs in MLflow: a sqlite database and artifact folders below one root. The only importer of mlflow."""

import json
import logging
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")

import pandas as pd
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.file_utils import local_file_uri_to_path

from rddrs.files import replacing, write_text
from rddrs.records.dashboard import VIEW_KEY, address, database
from rddrs.records.manifest import commit, versions
from rddrs.records.run_folder import OutputRoot, RunFolder
from rddrs.records.stated import Difference

if TYPE_CHECKING:
    from PIL.Image import Image
    from pytorch_lightning.loggers import MLFlowLogger

logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # what it logs, all of its traceback, it raises

EXPERIMENT = "rddrs"
_METRICS_A_BATCH = 1_000
DIGITS = 36
"""MLflow keeps so many of a digest."""
COLUMNS = ("certified_accuracy", "acr_ball", "acr_proxy", "fidelity")
_BESIDE = ("run name", "run status", "dataset")
"""What its pages show of a run beside its tags."""
VIEW = json.dumps(
    {
        "searchFilter": "tags.stage = 'certify'",
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "selectedColumns": [*(f"metrics.`{name}`" for name in COLUMNS), "params.`sigma`"],
        "runListHidden": False,
    }
)
"""What the printed link shows first, as the dashboard keeps a view that is shared."""
VIEW_TAG = f"mlflow.sharedViewState.{VIEW_KEY}"
NOTE = (
    "Classifiers that are certified by randomized smoothing. certified_accuracy: the share of inputs that "
    "are right and certified; acr_ball, acr_proxy: mean radius of the ball inside the region, and of the ball of its "
    "volume, 0 where wrong; fidelity: accuracy relative to isotropic noise. Curves, of at most 200 "
    "inputs over their index: input/; over the radius in hundredths: certified_accuracy_at/. All inputs: records/."
)


def provenance() -> dict[str, str]:
    """The git commit and the versions of what a result may depend on, as tags."""
    return provenance_tags({"commit": commit(), **versions()})


def provenance_tags(provenance: Mapping[str, str]) -> dict[str, str]:
    """A commit and versions by the names of their tags."""
    return {
        "mlflow.source.git.commit" if name == "commit" else f"version.{name}": value
        for name, value in provenance.items()
    }


def follow(path: Path, before: str, now: str) -> None:
    """Bring the absolute places of artifacts to where the database lies now, after its folder was moved."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                (now, len(before) + 1, len(before), before),
            )


@dataclass(frozen=True)
class Logged:
    """What MLflow shows of a run: its figures by name and step, parameters, tags, and the folder of its artifacts.

    `latest` are the figures that its tables show, kept apart in its database; among the tags are the `run name`, the
    `run status` and the `dataset`, a name and a digest, which its pages show beside them.
    """

    metrics: dict[str, dict[int, float]]
    latest: dict[str, float]
    parameters: dict[str, str]
    tags: dict[str, str]
    artifacts: Path


def logged(root: Path, run_id: str) -> Logged:
    """What MLflow shows of a run; raises ValueError where there is no such run below `root`."""
    if not (root / "mlflow.db").exists():
        raise ValueError(f"there is no MLflow database in {root}")
    client = MlflowClient(database(root))
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        raise ValueError(f"MLflow knows no run {run_id}: {error}") from error
    series = {name: _latest(client, run_id, name) for name in run.data.metrics}
    metrics = {name: {step: it.value for step, it in known.items()} for name, known in series.items()}
    artifacts = root.resolve() / "mlartifacts" / run_id / "artifacts"  # also of a copy, and after the folder was moved
    if not artifacts.exists():
        artifacts = Path(local_file_uri_to_path(run.info.artifact_uri))
    status = run.info.status if run.info.lifecycle_stage == "active" else run.info.lifecycle_stage
    tags = {f"tag {name}" if name in _BESIDE else name: value for name, value in run.data.tags.items()}
    tags |= {"run name": str(run.info.run_name), "run status": status}
    if run.inputs is not None and run.inputs.dataset_inputs:
        tags["dataset"] = " ".join(f"{it.dataset.name} {it.dataset.digest}" for it in run.inputs.dataset_inputs)
    return Logged(metrics, run.data.metrics, run.data.params, tags, artifacts)


def seen_in(root: OutputRoot, places: RunFolder) -> Logged | Difference | None:
    """What MLflow shows of a run, if there is MLflow here; the difference where it does not know the run."""
    if not (places.is_below(root) and root.database.exists()):
        return None
    try:
        return logged(root.path, places.mlflow_run.read_text())
    except (OSError, ValueError) as error:
        return Difference("mlflow_run_id", None, "file", str(error), "the run's id in MLflow")


def namesakes(places: RunFolder) -> list[str]:
    """The ids of other runs that MLflow shows by a run's name."""
    client = MlflowClient(database(places.root.path))
    everywhere = [it.experiment_id for it in client.search_experiments()]
    named = client.search_runs(everywhere, f"attributes.run_name = '{places.name}'")
    return sorted({it.info.run_id for it in named} - {places.mlflow_run.read_text()})


def parameters_of(parameters: dict[str, Any]) -> dict[str, str]:
    """Parameters as MLflow shows them, nested ones as `group.name`."""
    flat = pd.json_normalize(parameters).iloc[0].to_dict() if parameters else {}
    return {str(name).replace("+", ":"): str(value)[:6000] for name, value in flat.items()}  # no plus in names there


def _latest(client: MlflowClient, run_id: str, name: str) -> dict[int, Metric]:
    """The value of a metric that MLflow shows at each step."""
    history = sorted(client.get_metric_history(run_id, name), key=lambda it: (it.timestamp, it.value))
    return {it.step: it for it in history}


class Tracker:
    """One MLflow run named `name`; the file `note` holds its id, so that a restart takes it up again.

    Making a database from several processes at once crashes MLflow, and of a run it would make two: a file lock is held
    meanwhile. A database that is made in part, because the disk was full, would never be taken up: it is made beside
    its place.
    """

    def __init__(self, root: Path, name: str, note: Path, tags: dict[str, str]) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".mlflow.lock"):
            if not (root / "mlflow.db").exists():
                with replacing(root.resolve() / "mlflow.db") as part:
                    MlflowClient(f"sqlite:///{quote(str(part))}")
            self._client = MlflowClient(database(root))
            experiment = self._client.get_experiment_by_name(EXPERIMENT)
            location = (root.resolve() / "mlartifacts").as_uri()
            if experiment is not None and experiment.artifact_location != location:
                follow(root / "mlflow.db", experiment.artifact_location, location)
            if experiment is None:
                self.experiment_id = self._client.create_experiment(EXPERIMENT, artifact_location=location)
            else:
                self.experiment_id = experiment.experiment_id
            if experiment is None or experiment.tags.get(VIEW_TAG) != VIEW:
                self._client.set_experiment_tag(self.experiment_id, VIEW_TAG, VIEW)
                self._client.set_experiment_tag(self.experiment_id, "mlflow.note.content", NOTE)
            known = note.read_text() if note.exists() else None
            if known is not None and self._exists(known):
                self.run_id = known
                self._client.update_run(known, status="RUNNING")
            else:
                self.run_id = self._client.create_run(self.experiment_id, run_name=name, tags=tags).info.run_id
                write_text(note, self.run_id)

    def _exists(self, run_id: str) -> bool:
        try:
            return self._client.get_run(run_id).info.lifecycle_stage == "active"
        except MlflowException:
            return False

    @property
    def address(self) -> str:
        """Where `mlflow ui` shows all runs."""
        return address(self.experiment_id)

    def lightning_logger(self, prefix: str = "") -> "MLFlowLogger":
        """A Lightning logger that writes to this run; `prefix` stands before the names of its metrics."""
        from pytorch_lightning.loggers import MLFlowLogger

        return MLFlowLogger(EXPERIMENT, tracking_uri=database(self._root), run_id=self.run_id, prefix=prefix)

    @property
    def artifacts(self) -> Path:
        """The folder of the run's artifacts: what is written there is an artifact."""
        folder = Path(local_file_uri_to_path(self._client.get_run(self.run_id).info.artifact_uri))
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def parameters(self, parameters: dict[str, Any]) -> None:
        """Log parameters, nested ones as `group.name`; MLflow lets none change, so that the first value stays."""
        known = self._client.get_run(self.run_id).data.params
        new = [Param(name, value) for name, value in parameters_of(parameters).items() if name not in known]
        self._client.log_batch(self.run_id, params=new)

    def tags(self, tags: dict[str, str]) -> None:
        """Set tags."""
        self._client.log_batch(self.run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    def metrics(self, metrics: dict[str, float], step: int = 0) -> None:
        """Log single figures."""
        self.curves({name: {step: value} for name, value in metrics.items()})

    def curves(self, series: Mapping[str, Mapping[int, float]]) -> None:
        """Log the values, by name and step, that are not those shown already.

        MLflow shows the latest value of a step, and the largest of those of one time: a value that replaces another
        is given a later time.
        """
        now = time.time_ns() // 1_000_000
        metrics = []
        for name, values in series.items():
            known = _latest(self._client, self.run_id, name)
            for step, value in values.items():
                before = known.get(int(step))
                if before is None or before.value != float(value):
                    stamp = now if before is None else max(now, before.timestamp + 1)
                    metrics.append(Metric(name, float(value), stamp, int(step)))
        for start in range(0, len(metrics), _METRICS_A_BATCH):
            self._client.log_batch(self.run_id, metrics[start : start + _METRICS_A_BATCH])

    def adopt(self, run_id: str) -> None:
        """Make another run, where it is there, a child of this one."""
        if self._exists(run_id):
            self._client.set_tag(run_id, "mlflow.parentRunId", self.run_id)

    def describe(self, text: str, data: str, digest: str) -> None:
        """Say what the run is, and on which data, known by a digest of what they hold."""
        self.tags({"mlflow.note.content": text})
        inputs = self._client.get_run(self.run_id).inputs
        if inputs is None or not inputs.dataset_inputs:
            source = json.dumps({"name": data})
            self._client.log_inputs(self.run_id, [DatasetInput(Dataset(data, digest[:DIGITS], "local", source))])

    def link(self, files: Iterable[Path], name: str) -> None:
        """Make files artifacts below the folder `name`, by hard links where the disk can: nothing is copied."""
        target = self.artifacts / name
        for path in files:
            target.mkdir(parents=True, exist_ok=True)
            place = target / path.name
            place.unlink(missing_ok=True)
            try:
                os.link(path, place)
            except OSError:
                with replacing(place) as part:
                    shutil.copyfile(path, part)

    def pictures(self, name: str, indices: Iterable[int], draw: Callable[[int], "Image"]) -> None:
        """Pictures of inputs, the input's index as the step; those that are there are not drawn again."""
        folder = self.artifacts / "images"
        folder.mkdir(exist_ok=True)
        for index in indices:
            # How MLflow's dashboard finds the steps of an image, in full and as a preview.
            place = folder / f"{name.replace('/', '~')}+step+{index}+timestamp+1+{index}.png"
            if not place.exists():
                picture = draw(index)
                with replacing(place.with_name(f"{place.stem}+compressed.webp")) as part:
                    picture.save(part, format="webp")
                with replacing(place) as part:
                    picture.save(part, format="png")
        self.tags({"mlflow.loggedImages": "True"})

    def finish(self, status: str = "FINISHED") -> None:
        """End the run: FINISHED, FAILED or KILLED."""
        self._client.set_terminated(self.run_id, status)
