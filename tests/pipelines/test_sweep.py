"""Multiruns as a user starts them: whole processes, real launchers, real MLflow."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from hydra.core.utils import JobReturn, JobStatus
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from pipelines.certify import certify
from pipelines.entry import CONFIGURATION
from pipelines.errors import SettingsError
from pipelines.figure2 import figure2
from pipelines.prepare import prepare
from pipelines.run import run
from pipelines.settings import CovarianceTrain
from pipelines.sweep import Sweep
from pipelines.swept import leave_note, merge, stop
from rddrs.records import ComparisonFolder
from rddrs.records.store import Store
from rddrs.records.tracking import database
from tests.pipelines.processes import heed_ctrl_c
from tests.pipelines.test_config import composed, settings

SMALL = ["data=toy2d", "train.epochs=2", "certify.samples=2000", "certify.batch=128", "data.reference=50"]
SWEEPS = [path.relative_to(CONFIGURATION).with_suffix("") for path in sorted(CONFIGURATION.glob("sweep/*.yaml"))]
CONTESTANTS = sorted(CONFIGURATION.glob("contestant/*.yaml"))
EXPERIMENTS = [path.stem for path in sorted(CONFIGURATION.glob("experiment/*.yaml"))]


def start(root: Path, *overrides: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pipelines.run", "--multirun", *SMALL, f"output_root={root}", *overrides]
    environment = os.environ | {"COLUMNS": "120"}
    return subprocess.Popen(
        command,
        cwd=CONFIGURATION.parent,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,
        preexec_fn=heed_ctrl_c,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    output, errors = process.communicate(timeout=900)
    return process.returncode, output, errors


def whole(commands: Path, root: Path, *overrides: str) -> tuple[int, str, str]:
    """A multirun that nobody stops: the process that launches its jobs has made its imports."""
    command = [commands / "rddrs", "run", "--multirun", *SMALL, f"output_root={root}", *overrides]
    environment = os.environ | {"COLUMNS": "120", "PYTHONPATH": str(CONFIGURATION.parent)}
    done = subprocess.run(command, cwd=CONFIGURATION.parent, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def tracked(root: Path, stage: str) -> list[Run]:
    client = MlflowClient(database(root))
    experiment = client.get_experiment_by_name("rddrs")
    assert experiment is not None
    return client.search_runs([experiment.experiment_id], f"tags.stage = '{stage}'", order_by=["start_time"])


@pytest.fixture(scope="module")
def swept(commands: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, str, str]:
    """Three jobs, two at a time, of which the last cannot be run; the root, exit status and outputs."""
    root = tmp_path_factory.mktemp("sweep")
    jobs = ["method=rs,ancer", "data.subset=6,999", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    return root, *whole(commands, root, *jobs)


def test_a_sweep_is_a_parent_run_with_its_jobs_as_children(swept) -> None:
    root, *_ = swept
    (parent,) = tracked(root, "sweep")
    children = tracked(root, "certify")
    assert {child.data.tags["method"] for child in children} == {"rs", "ancer"}
    assert {child.data.tags["mlflow.parentRunId"] for child in children} == {parent.info.run_id}
    assert (parent.info.status, parent.data.metrics) == ("FAILED", {"jobs": 4, "failed": 2})
    client = MlflowClient(database(root))
    figures = {Path(item.path).name for item in client.list_artifacts(parent.info.run_id, "figures")}
    assert {"certified_accuracy.png", "fidelity.svg"} <= figures
    assert len(tracked(root, "train")) == 1, "jobs that start together train one classifier"


def test_failed_jobs_are_named_and_the_others_are_compared(swept) -> None:
    root, status, output, errors = swept
    assert status == 1
    assert "Traceback" not in errors
    for method in ("rs", "ancer"):
        assert f"method={method} data.subset=999\n" in errors
    assert "data.subset=999: the test set has 300 inputs" in errors
    (table,) = root.glob("sweeps/data.subset-method-*/comparison.csv")
    assert pd.read_csv(table)["label"].tolist() == ["rs", "ancer"]
    assert f"written to   {table.parent}" in output


def killed(**_: object) -> None:
    """A classifier that is the end of its process."""
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_job_that_is_killed_outright_is_named_and_the_others_are_compared(commands: Path, tmp_path: Path) -> None:
    pytest.importorskip("submitit", reason="needs the extra slurm")
    jobs = [f"classifier._target_={__name__}.killed,rddrs.models.Perceptron", "method=rs", "data.subset=6"]
    status, output, errors = whole(commands, tmp_path, *jobs, "hydra/launcher=submitit_local")
    assert status == 1 and "Traceback" not in errors
    assert f" classifier._target_={__name__}.killed method=rs data.subset=6\n        job " in errors
    assert "1 of 2 jobs failed" in errors
    (table,) = tmp_path.glob("sweeps/*/comparison.csv")
    assert len(pd.read_csv(table)) == 1 and f"written to   {table.parent}" in output
    (parent,) = tracked(tmp_path, "sweep")
    assert (parent.info.status, parent.data.metrics) == ("FAILED", {"jobs": 2, "failed": 1})


def test_a_sweep_that_is_stopped_goes_on_under_the_same_parent_and_merges_its_shards(
    commands: Path, tmp_path: Path
) -> None:
    jobs = ["method=rddrs_paper", "method.samples=500", "method.iterations=5", "data.subset=12"]
    jobs += ["shard.count=2", "shard.index=0,1"]
    process = start(tmp_path, *jobs)
    deadline = time.monotonic() + 200
    while not (done := list(tmp_path.glob("runs/*/regions/*.safetensors"))):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    status, _, errors = finish(process)
    assert status == 130 and "run the same command again" in errors
    (stopped,) = tracked(tmp_path, "sweep")
    assert stopped.info.status == "KILLED"
    written = {path: path.stat().st_mtime_ns for path in done}

    assert whole(commands, tmp_path, *jobs)[0] == 0
    (parent,) = tracked(tmp_path, "sweep")
    (child,) = tracked(tmp_path, "certify")
    assert (parent.info.run_id, parent.info.status) == (stopped.info.run_id, "FINISHED")
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert {path: path.stat().st_mtime_ns for path in done} == written, "nothing is done twice"
    assert len(pd.read_parquet(next(tmp_path.glob("runs/*/records.parquet")))) == 12


def test_a_sweep_over_some_of_the_shards_is_done_with_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is left to other shards is no failure; an input of its own that is missing is one."""
    words = [*SMALL, "method=rs", "data.subset=5", "shard.count=3", f"output_root={tmp_path}"]
    shards = [prepare(settings(*words, f"shard.index={place}")) for place in (0, 1)]
    for prepared, left in zip(
        shards, ["2 of 5 inputs are certified; the others are left to shard.index=1,2", "4 of 5"], strict=True
    ):
        run(prepared)
        assert f"{prepared.run_folder.name}: {left}" in capsys.readouterr().out
    given = tmp_path / "sweeps" / "some", shards[0].run_folder.name, [it.settings for it in shards]
    with monkeypatch.context() as patch:
        patch.setattr(Store, "finished", Mock(side_effect=[shards[0].store.finished()]))
        assert merge(*given) == "4 of 5 inputs are certified; the others are left to shard.index=2"
    shards[0].store.path(shards[0].indices[1]).unlink()
    with pytest.raises(SettingsError, match="2 of 5 inputs are not certified yet"):
        merge(*given)


def test_a_full_disk_at_the_end_of_a_sweep_is_told_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """MLflow's error ended in its traceback, and so did the last word to MLflow, at the process's end."""
    full = MlflowException("(sqlite3.OperationalError) database or disk is full\n[SQL: ...]")
    sweep, places = Sweep(), ComparisonFolder(tmp_path / "sweeps" / "key")
    sweep.folder = places.path
    places.path.mkdir(parents=True)
    places.mlflow_run.write_text("0")
    monkeypatch.setattr("pipelines.swept.Tracker", Mock(side_effect=full))
    with pytest.raises(SystemExit) as ended:
        sweep.on_job_start(composed())
    assert ended.value.code == 1
    told = f"error: {tmp_path}/mlflow.db: (sqlite3.OperationalError) database or disk is full; what was finished is"
    assert capsys.readouterr().err.startswith(told)
    stop(sweep.folder)


@pytest.mark.parametrize("size", [[], ["+size=paper"]], ids=["laptop", "paper"])
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_composes(name: str, size: list[str]) -> None:
    made = settings(f"experiment={name}", *size)
    paper = {"literature": "mnist", "literature_cifar10": "cifar10", "figure2": "mnist"}
    quick = (paper[name], 500) if name in paper else ("digits", 12)
    assert (made.data.name, made.data.subset) == (("mnist", None) if size else quick)


@pytest.mark.parametrize("path", CONTESTANTS, ids=lambda path: path.stem)
def test_every_contestant_of_figure_2_composes(path: Path) -> None:
    made = settings("experiment=figure2", f"+contestant={path.stem}", "shard.index=5")
    assert (made.data.subset, made.shard.count) == (10 if path.stem == "rddrs_paper" else 500, 10)
    assert made.train.name == ("covariance" if path.stem == "cotrained" else "gaussian")
    assert made.method.name == {"cotrained": "rddrs_global", "rs_as_long": "rs"}.get(path.stem, path.stem)
    if isinstance(made.train, CovarianceTrain):
        assert made.train.as_long.epochs == settings("+contestant=rs_as_long").train.epochs


def test_figure_2_is_drawn_of_the_shards_that_are_finished(tmp_path: Path) -> None:
    """And the claims are of the run with the most inputs, of several that are called alike."""
    shards = [(method, 6, 2, shard) for shard in (0, 1) for method in ("rs", "ddrs")]
    made = []
    for number, (method, subset, count, shard) in enumerate([*shards, ("rs", 2, 1, 0)]):
        folder = tmp_path / "sweeps" / f"figure2-{number // 4}"
        (folder / "jobs").mkdir(parents=True, exist_ok=True)
        words = ["experiment=figure2", "data=toy2d", "classifier=perceptron", f"+contestant={method}", *SMALL]
        words += [f"data.subset={subset}", f"shard.count={count}", f"shard.index={shard}", f"output_root={tmp_path}"]
        prepared = prepare(settings(*words))
        certify(prepared)
        made.append(prepared)
        if number != 3:
            job = JobReturn(words, composed(*words), status=JobStatus.COMPLETED)
            job.return_value = prepared.run_folder.name
            leave_note(folder, number, job)
    found = figure2(tmp_path)
    claims, table = (pd.read_csv(found / f"{name}.csv") for name in ("claims", "comparison"))
    assert table[["label", "inputs"]].values.tolist() == [["rs", 6], ["ddrs", 3], ["rs", 2]]
    assert set(table["network"]) == {"perceptron"}
    assert claims[["claim", "inputs"]].values.tolist() == [["ACR: rs < ddrs", 3]]
    assert {path.name for path in found.iterdir()} >= {"perceptron.png", "perceptron.svg"}
    half = made[3].store.records(made[3].indices[::2])
    radii = half["proxy_radius"].to_numpy() * half["correct"].to_numpy()
    assert table["acr_proxy"].tolist()[1] == pytest.approx(radii.mean())


@pytest.mark.parametrize("path", SWEEPS, ids=str)
def test_every_sweep_composes(path: Path) -> None:
    assert settings(f"+{path.parent}={path.name}").data.name == "digits"


def test_rotated_data_and_network_have_the_certificates_of_the_unrotated(swept) -> None:
    """Isotropic noise is the same rotated: 8 estimates of p from n = 20,000 agree; false alarm below 1e-3."""
    root, *_ = swept
    runs = ["method=rs", "data.subset=8", "certify.samples=20000", f"output_root={root}"]
    records = []
    for rotation in ("null", "0"):
        prepared = prepare(settings(*SMALL, *runs, f"data.rotation={rotation}"))
        certify(prepared)
        records.append(Store(prepared.run_folder).records(prepared.indices))
    plain, turned = records
    assert np.allclose(plain["p_lower"], turned["p_lower"], atol=0.02)
    assert not np.array_equal(plain["p_lower"], turned["p_lower"])
