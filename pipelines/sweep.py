"""A multirun as one sweep: a parent run in MLflow whose children are its jobs; at its end they are named and compared.

Every job leaves a note below `sweeps/<key>/jobs`, so that a sweep needs nothing of its jobs but the disk, whatever
launched them. The same multirun has the same key: started again it takes up its parent, and every job its own work.
"""

import atexit
import hashlib
import sys
import traceback
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf


def fatal(method: Callable[..., None]) -> Callable[..., None]:
    """End the command, as a stage would, where a callback fails: Hydra itself would only warn."""

    @wraps(method)
    def checked(sweep: "Sweep", *arguments: Any, **options: Any) -> None:
        try:
            method(sweep, *arguments, **options)
        except Exception as error:
            from pipelines.work import ended
            from rddrs.records import ComparisonFolder

            end = ended(error, sweep.folder and ComparisonFolder(sweep.folder).root)
            if end is None:
                traceback.print_exc()
                sys.exit(1)
            print(end, file=sys.stderr)
            sys.exit(end.status)

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


def folder_of(config: DictConfig) -> Path:
    """Where a multirun lies."""
    return Path(config.output_root).resolve() / "sweeps" / sweep_key(config)


class Sweep(Callback):
    """Hydra's callback. Launchers pickle it into their jobs: all that it holds is where the sweep lies.

    Hydra makes it for every command, `--help` too: what it needs is imported where a multirun begins.
    """

    def __init__(self) -> None:
        self.folder: Path | None = None

    @fatal
    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        from pipelines.swept import outlive_killed_jobs, stop  # not at exit: torch cannot be imported there

        self.folder = folder_of(config)
        self.stopped = partial(stop, self.folder)
        atexit.register(self.stopped)
        if "submitit" in config.hydra.launcher._target_:
            outlive_killed_jobs(config)

    @fatal
    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        if self.folder is not None:
            from pipelines.swept import parent

            parent(self.folder)

    @fatal
    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        """Leave the job's note and call it done: at the first that failed, Hydra's sweeper would leave out the end."""
        if self.folder is not None:
            from pipelines.swept import leave_note

            leave_note(self.folder, config.hydra.job.num, job_return)

    @fatal
    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        from pipelines.swept import end

        assert self.folder is not None
        failed = end(self.folder, list(config.hydra.overrides.task))
        atexit.unregister(self.stopped)
        if failed:
            sys.exit(1)
