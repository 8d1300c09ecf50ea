"""What a sweep does while its jobs run and at its end: a run in MLflow, a note of every job, a comparison."""

import json
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf, read_write
from rich.console import Console
from rich.markup import escape

from pipelines.compare import read_runs, show_comparison, write_comparison
from pipelines.config import load
from pipelines.errors import JobError, SettingsError
from pipelines.prepare import prepare
from pipelines.run import complete
from pipelines.settings import Settings
from pipelines.told import left_to_others
from rddrs.files import write_text
from rddrs.records import ComparisonFolder
from rddrs.records.tracking import Tracker


def parent(folder: Path) -> Tracker:
    """The sweep's run in MLflow, made by the first that asks."""
    places = ComparisonFolder(folder)
    places.jobs.mkdir(parents=True, exist_ok=True)
    return Tracker(places.root.path, f"sweep {places.name}", places.mlflow_run, {"stage": "sweep"})


def stop(folder: Path) -> None:
    """Say in MLflow, where it can be written, that the multirun ended before its end."""
    with suppress(Exception):  # whatever MLflow raises of a full disk
        if ComparisonFolder(folder).mlflow_run.exists():
            parent(folder).finish("KILLED")


def outlive_killed_jobs(config: DictConfig) -> None:
    """Have submitit's jobs launched by a launcher that goes on where one of them was killed outright."""
    from hydra_plugins import _rddrs

    kind = getattr(_rddrs, config.hydra.launcher._target_.rpartition(".")[2])
    Plugins.instance().register(kind)
    with read_write(config):
        config.hydra.launcher._target_ = f"{kind.__module__}.{kind.__name__}"


def leave_note(folder: Path, number: int, job: JobReturn) -> None:
    """Write what a job did, or why it failed, and call it done."""
    assert job.cfg is not None
    note: dict[str, Any] = {"overrides": list(job.overrides or []), "configuration": OmegaConf.to_yaml(job.cfg)}
    if job.status is JobStatus.FAILED:
        error = job._return_value
        if not isinstance(error, JobError):
            traceback.print_exception(error)
        note["error"] = str(error) if isinstance(error, JobError) else f"{type(error).__name__}: {error}"
        job.status, job.return_value = JobStatus.COMPLETED, None
    else:
        note["run"] = job.return_value
        adopt(folder, note["run"])
    write_text(ComparisonFolder(folder).job(number), json.dumps(note))


def adopt(folder: Path, name: str) -> None:
    """Make the run of a job, if it is there, a child of this sweep: of the latest that had it as a job."""
    note = ComparisonFolder(folder).root.run(name).mlflow_run
    if note.exists():
        parent(folder).adopt(note.read_text())


def read_note(note: dict[str, Any]) -> Settings:
    """The settings of a job from the note that it left."""
    configuration = OmegaConf.create(note["configuration"])
    assert isinstance(configuration, DictConfig)
    return load(configuration)


def end(folder: Path, overrides: list[str]) -> bool:
    """Merge shards, compare what is finished, name what failed and what is left to other shards; whether any failed."""
    places = ComparisonFolder(folder)
    notes = sorted(places.jobs.glob("*.json"), key=lambda path: int(path.stem))
    jobs = [json.loads(path.read_text()) for path in notes]
    failures = {" ".join(job["overrides"]): job["error"] for job in jobs if "error" in job}
    runs: dict[str, list[Settings]] = {}
    for job in jobs:
        if "error" not in job:
            runs.setdefault(job["run"], []).append(read_note(job))
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    for name, shards in runs.items():
        try:
            if any(it.shard.count > 1 for it in shards) and (told := merge(folder, name, shards)):
                console.print(f"{escape(name)}\n        {told}")
        except SettingsError as error:
            failures[name] = str(error)
    tracker = parent(folder)
    if done := [name for name in runs if places.root.run(name).is_finished]:
        finished = read_runs(places.root, done)
        write_comparison(places.root, finished, folder)
        tracker.link(places.figures.glob("[!.]*"), "figures")
        tracker.link([*folder.glob("*.csv"), places.page], "records")
        show_comparison(folder, finished, tracker.experiment_id)
    tracker.tags({"overrides": " ".join(overrides)})
    tracker.metrics({"jobs": len(jobs), "failed": len(failures)})
    tracker.finish("FAILED" if failures else "FINISHED")
    for name, message in failures.items():
        console.print(f"[bold red]failed[/]  {escape(name)}\n        {escape(message)}")
    if failures:
        console.print(f"{len(failures)} of {len(jobs)} jobs failed; the same command takes up what is not finished")
    return bool(failures)


def merge(folder: Path, name: str, shards: list[Settings]) -> str:
    """Report the run that was split into shards if the region of every input is there; else what is left to others.

    Raises SettingsError where an input of the `shards` that are given is missing.
    """
    prepared = prepare(shards[0])
    own = {index for it in shards for index in prepared.indices[it.shard.index :: it.shard.count]}
    if (left := prepared.left) and left.isdisjoint(own):
        return left_to_others(prepared, left)
    complete(prepared)
    adopt(folder, name)
    return ""
