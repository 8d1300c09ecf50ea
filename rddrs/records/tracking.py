"""Runs in MLflow: a sqlite database and artifact folders below one root. The only importer of mlflow."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")

import pandas as pd
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.file_utils import local_file_uri_to_path

from rddrs.files import write_text
from rddrs.version import __version__

if TYPE_CHECKING:
    from PIL.Image import Image
    from pytorch_lightning.loggers import MLFlowLogger

PACKAGES = ("torch", "numpy", "scipy", "pytorch-lightning", "geomstats", "mlflow")
EXPERIMENT = "rddrs"
_METRICS_A_BATCH = 1_000


def provenance() -> dict[str, str]:
    """The git commit, and the versions of Python and of the packages that a result may depend on, as tags."""
    versions = {"python": sys.version.split()[0], "rddrs": __version__, **{name: version(name) for name in PACKAGES}}
    return {"mlflow.source.git.commit": commit(), **{f"version.{name}": value for name, value in versions.items()}}


def commit() -> str:
    """The git commit of the code, with `-dirty` where it was changed since; `unknown` outside a checkout."""
    here = Path(__file__).parent
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=here, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return described.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def database(root: Path) -> str:
    """The tracking URI of the database below `root`."""
    return f"sqlite:///{root.resolve() / 'mlflow.db'}"


class Tracker:
    """One MLflow run named `name`; the file `note` holds its id, so that a restart takes it up again.

    Making a database from several processes at once crashes MLflow: a file lock is held meanwhile.
    """

    def __init__(self, root: Path, name: str, note: Path, tags: dict[str, str]) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".mlflow.lock"):
            self._client = MlflowClient(database(root))
            experiment = self._client.get_experiment_by_name(EXPERIMENT)
            if experiment is None:
                location = (root.resolve() / "mlartifacts").as_uri()
                self.experiment_id = self._client.create_experiment(EXPERIMENT, artifact_location=location)
            else:
                self.experiment_id = experiment.experiment_id
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
        """Where `mlflow ui` shows the charts of all runs; without the query it opens a page about language models."""
        page = "runs?workflowType=machine_learning&compareRunsMode=CHART"
        return f"http://127.0.0.1:5000/#/experiments/{self.experiment_id}/{page}"

    def lightning_logger(self) -> "MLFlowLogger":
        """A Lightning logger that writes to this run."""
        from pytorch_lightning.loggers import MLFlowLogger

        return MLFlowLogger(EXPERIMENT, tracking_uri=database(self._root), run_id=self.run_id)

    @property
    def artifacts(self) -> Path:
        """The folder of the run's artifacts: what is written there is an artifact."""
        folder = Path(local_file_uri_to_path(self._client.get_run(self.run_id).info.artifact_uri))
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def parameters(self, parameters: dict[str, Any]) -> None:
        """Log parameters, nested ones as `group.name`; MLflow lets none change, so that the first value stays."""
        flat = pd.json_normalize(parameters).iloc[0].to_dict() if parameters else {}
        known = self._client.get_run(self.run_id).data.params
        new = [Param(name, str(value)[:6000]) for name, value in flat.items() if name not in known]
        self._client.log_batch(self.run_id, params=new)

    def tags(self, tags: dict[str, str]) -> None:
        """Set tags."""
        self._client.log_batch(self.run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    def metrics(self, metrics: dict[str, float], step: int = 0) -> None:
        """Log single figures."""
        self._client.log_batch(self.run_id, [Metric(name, float(value), 0, step) for name, value in metrics.items()])

    def per_input(self, records: pd.DataFrame, columns: list[str]) -> None:
        """Log columns of the records as metrics named `input/COLUMN`, the input's index as the step.

        Time stamps are constant, so that records that are logged again change nothing.
        """
        rows = records[["index", *columns]].astype({column: float for column in columns})
        metrics = [
            Metric(f"input/{column}", value, 0, int(index))
            for column in columns
            for index, value in zip(rows["index"], rows[column], strict=True)
        ]
        for start in range(0, len(metrics), _METRICS_A_BATCH):
            self._client.log_batch(self.run_id, metrics[start : start + _METRICS_A_BATCH])

    def adopt(self, run_id: str) -> None:
        """Make another run, where it is there, a child of this one."""
        if self._exists(run_id):
            self._client.set_tag(run_id, "mlflow.parentRunId", self.run_id)

    def link(self, files: Iterable[Path], name: str) -> None:
        """Make files artifacts below the folder `name`, by hard links where the disk can: nothing is copied."""
        target = self.artifacts / name
        target.mkdir(parents=True, exist_ok=True)
        for path in files:
            place = target / path.name
            place.unlink(missing_ok=True)
            try:
                os.link(path, place)
            except OSError:
                place.write_bytes(path.read_bytes())

    def pictures(self, name: str, indices: Iterable[int], draw: Callable[[int], "Image"]) -> None:
        """Pictures of inputs, the input's index as the step; those that are there are not drawn again."""
        folder = self.artifacts / "images"
        folder.mkdir(exist_ok=True)
        for index in indices:
            # How MLflow's dashboard finds the steps of an image, in full and as a preview.
            place = folder / f"{name.replace('/', '~')}+step+{index}+timestamp+1+{index}.png"
            if not place.exists():
                picture = draw(index)
                picture.save(place.with_name(f"{place.stem}+compressed.webp"))
                picture.save(place)
        self.tags({"mlflow.loggedImages": "True"})

    def finish(self, status: str = "FINISHED") -> None:
        """End the run: FINISHED, FAILED or KILLED."""
        self._client.set_terminated(self.run_id, status)
