"""Launchers of submitit whose multirun outlives a job that was killed outright; it is told, and the others go on.

Hydra takes a launcher from this package alone; for the underscore no other program of Hydra's sees it.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import submitit
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus
from hydra_plugins.hydra_submitit_launcher import submitit_launcher
from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
from submitit.core.utils import FailedJobError, UncompletedJobError

from pipelines.sweep import folder_of
from rddrs.files import write_text
from rddrs.records import ComparisonFolder

OF_EXECUTOR = ("submitit_folder", "max_num_timeout")
"""Parameters of the executor itself; the others are those of its jobs."""


class Outliving(submitit_launcher.BaseSubmititLauncher):
    """As submitit's own, which ends the multirun where the first job ended without a result."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        assert self.config is not None
        of_jobs = {name: value for name, value in self.params.items() if name not in OF_EXECUTOR}
        own = {"max_num_timeout"} & {*self.params}
        executor = submitit.AutoExecutor(
            self.params["submitit_folder"],
            cluster=self._EXECUTOR,
            **{f"{self._EXECUTOR}_{name}": self.params[name] for name in own},
        )
        shared = BaseQueueConf.__dataclass_fields__
        executor.update_parameters(
            **{name if name in shared else f"{self._EXECUTOR}_{name}": value for name, value in of_jobs.items()}
        )
        Path(self.config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
        numbers = range(initial_job_idx, initial_job_idx + len(job_overrides))
        tasks = [
            (list(overrides), "hydra.sweep.dir", number, f"job_id_for_{number}", Singleton.get_state())
            for number, overrides in zip(numbers, job_overrides, strict=True)
        ]
        jobs = executor.map_array(self, *zip(*tasks, strict=True))
        places = ComparisonFolder(folder_of(self.config))
        return [self.outcome(job, task[0], places, task[2]) for job, task in zip(jobs, tasks, strict=True)]

    def outcome(
        self, job: submitit.Job[JobReturn], overrides: list[str], places: ComparisonFolder, number: int
    ) -> JobReturn:
        """What a job returned; where nothing came of it, its note says so, and it is called done."""
        try:
            return job.results()[0]
        except (FailedJobError, UncompletedJobError):
            error = f"job {job.job_id} ended without a result (state {job.state}); see {job.paths.stderr}"
            places.jobs.mkdir(parents=True, exist_ok=True)
            write_text(places.job(number), json.dumps({"overrides": overrides, "error": error}))
            return JobReturn(overrides, status=JobStatus.COMPLETED)


class LocalLauncher(Outliving, submitit_launcher.LocalLauncher):
    """One process a job, all at once."""


class SlurmLauncher(Outliving, submitit_launcher.SlurmLauncher):
    """One array of SLURM jobs."""
