"""A multirun as one sweep: a parent run in MLflow whose children are its jobs; at its end they are named and compared.

Every job leaves a note below `sweeps/<key>/jobs`, so that a sweep needs nothing of its jobs but the disk, whatever
launched them. The same multirun has the same key: started again it takes up its parent, and every job its own work.
"""

import atexit
import hashlib
import json
import sys
import traceback
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from rich.markup import escape

from pipelines.errors import JobError, SettingsError

if TYPE_CHECKING:
    from pipelines.settings import Settings
    from rddrs.records.tracking import Tracker


def fatal(method: Callable[..., None]) -> Callable[..., None]:
    """End the command where a callback fails: Hydra itself would only warn."""

    @wraps(method)
    def checked(*arguments: Any, **options: Any) -> None:
        try:
            method(*arguments, **options)
        except OSError as error:
            sys.exit(f"error: {error}")
        except Exception:
            traceback.print_exc()
            sys.exit(1)

    return checked


def sweep_key(config: DictConfig) -> str:
    """The name of a multirun: its named sweep or experiment, else the swept keys; with a hash of what its jobs do."""
    params = OmegaConf.select(config, "hydra.sweeper.params") or {}
    overrides = [f"{key}={value}" for key, value in params.items()] + list(config.hydra.overrides.task)
    overrides = sorted(override for override in overrides if not override.startswith("output_root="))
    parsed = OverridesParser.create().parse_overrides(overrides)
    swept = [override.key_or_group for override in parsed if override.is_sweep_override()]
    choices = config.hydra.runtime.choices
    name = choices.get("sweep") or choices.get("experiment") or "-".join(swept)[:60]
    values = {key: value for key, value in config.items() if key not in ("hydra", "output_root")}
    identity = "\n".join([*overrides, OmegaConf.to_yaml(OmegaConf.create(values), sort_keys=True)])
    return f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:10]}"


def read_note(note: dict[str, Any]) -> "Settings":
    """The settings of a job from the note that it left."""
    from pipelines.config import load

    configuration = OmegaConf.create(note["configuration"])
    assert isinstance(configuration, DictConfig)
    return load(configuration)


class Sweep(Callback):
    """Hydra's callback. Launchers pickle it into their jobs: all that it holds is where the sweep lies."""

    def __init__(self) -> None:
        self.folder: Path | None = None

    def parent(self) -> "Tracker":
        """The sweep's run in MLflow, made by the first that asks."""
        from filelock import FileLock

        from rddrs.records.tracking import Tracker

        assert self.folder is not None
        (self.folder / "jobs").mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / ".lock"):
            root, note = self.folder.parents[1], self.folder / "mlflow_run_id"
            return Tracker(root, f"sweep {self.folder.name}", note, {"stage": "sweep"})

    @fatal
    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        import rddrs.records.tracking  # noqa: F401  not at exit: torch cannot be imported there

        self.folder = Path(config.output_root).resolve() / "sweeps" / sweep_key(config)
        atexit.register(self.stopped)
        if "submitit" in config.hydra.launcher._target_:
            self.outlive_killed_jobs()

    def outlive_killed_jobs(self) -> None:
        """Leave the note of a job that was killed outright: submitit would end the multirun, whatever else runs."""
        import submitit
        from submitit.core.utils import FailedJobError, UncompletedJobError

        from rddrs.files import write_text

        assert self.folder is not None
        notes, results = self.folder / "jobs", submitit.Job.results

        def outcome(self: submitit.Job[JobReturn]) -> list[JobReturn]:
            try:
                return results(self)
            except (FailedJobError, UncompletedJobError):
                overrides, _, number, *_ = self.submission().args
                error = f"job {self.job_id} ended without a result (state {self.state}); see {self.paths.stderr}"
                notes.mkdir(parents=True, exist_ok=True)
                write_text(notes / f"{number}.json", json.dumps({"overrides": overrides, "error": error}))
                return [JobReturn(overrides, status=JobStatus.COMPLETED)]

        submitit.Job.results = outcome

    def stopped(self) -> None:
        """Say in MLflow that the multirun ended before its end."""
        if self.folder is not None and (self.folder / "mlflow_run_id").exists():
            self.parent().finish("KILLED")

    @fatal
    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        if self.folder is not None:
            self.parent()

    @fatal
    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        """Leave the job's note and call it done: at the first that failed, Hydra's sweeper would leave out the end."""
        from rddrs.files import write_text

        if self.folder is None:
            return
        assert job_return.cfg is not None
        note = {"overrides": list(job_return.overrides or []), "configuration": OmegaConf.to_yaml(job_return.cfg)}
        if job_return.status is JobStatus.FAILED:
            error = job_return._return_value
            if not isinstance(error, JobError):
                traceback.print_exception(error)
            note["error"] = str(error) if isinstance(error, JobError) else f"{type(error).__name__}: {error}"
            job_return.status, job_return.return_value = JobStatus.COMPLETED, None
        else:
            note["run"] = job_return.return_value
            self.adopt(note["run"])
        write_text(self.folder / "jobs" / f"{config.hydra.job.num}.json", json.dumps(note))

    def adopt(self, name: str) -> None:
        """Make the run of a job, if it is there, a child of this sweep: of the latest that had it as a job."""
        assert self.folder is not None
        note = self.folder.parents[1] / "runs" / name / "mlflow_run_id"
        if note.exists():
            self.parent().adopt(note.read_text())

    @fatal
    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Merge shards, compare what is finished, name what failed: then the exit status is 1."""
        from rich.console import Console

        assert self.folder is not None
        notes = sorted((self.folder / "jobs").glob("*.json"), key=lambda path: int(path.stem))
        jobs = [json.loads(path.read_text()) for path in notes]
        failures = {" ".join(job["overrides"]): job["error"] for job in jobs if "error" in job}
        runs = {job["run"]: read_note(job) for job in jobs if "error" not in job}
        failures |= self.merge({name: settings for name, settings in runs.items() if settings.shard.count > 1})
        tracker = self.parent()
        done = [name for name in runs if (self.folder.parents[1] / "runs" / name / "records.parquet").exists()]
        self.compare(done, tracker)
        tracker.tags({"overrides": " ".join(config.hydra.overrides.task)})
        tracker.metrics({"jobs": len(jobs), "failed": len(failures)})
        tracker.finish("FAILED" if failures else "FINISHED")
        atexit.unregister(self.stopped)
        console = Console(stderr=True, soft_wrap=True, highlight=False)
        for name, message in failures.items():
            console.print(f"[bold red]failed[/]  {escape(name)}\n        {escape(message)}")
        if failures:
            console.print(f"{len(failures)} of {len(jobs)} jobs failed; the same command takes up what is not finished")
            sys.exit(1)

    def merge(self, shards: "dict[str, Settings]") -> dict[str, str]:
        """Report the runs that were split into shards; what is missing, by the run's name."""
        from pipelines.prepare import prepare
        from pipelines.report import report

        missing = {}
        for name, settings in shards.items():
            try:
                report(prepare(settings), complete=True)
                self.adopt(name)
            except SettingsError as error:
                missing[name] = str(error)
        return missing

    def compare(self, names: list[str], tracker: "Tracker") -> None:
        """Set the finished runs side by side: on the terminal, and with the figures and the page on the parent."""
        from pipelines.compare import compare_runs, show_comparison

        if not names:
            return
        assert self.folder is not None
        root = self.folder.parents[1]
        compare_runs(root, names, self.folder)
        tracker.link((self.folder / "figures").iterdir(), "figures")
        tracker.link([*self.folder.glob("*.csv"), self.folder / "report.html"], "records")
        show_comparison(self.folder)
