"""A run that is finished: the command that makes it again, and that nothing is drawn twice."""

import shlex
import sqlite3
from pathlib import Path
from unittest.mock import Mock

import pytest
from rich.console import Console

import pipelines.report
import pipelines.run
from pipelines.again import command_of
from pipelines.errors import Ended, SettingsError
from pipelines.prepare import prepare
from pipelines.report import as_it_was, merged, severities_of
from pipelines.run import complete, run
from pipelines.told import show_dashboard
from pipelines.train import give_weights
from pipelines.work import work
from rddrs.files import Unreadable
from rddrs.records import manifest
from tests.pipelines.test_config import composed, settings

SMALL = ["data=toy2d", "data.subset=3", "data.reference=50", "method=rs", "train.epochs=1", "certify.samples=500"]


@pytest.mark.parametrize(
    "words",
    [
        ["sigma=0.25"],
        ["data=mnist", "data.root=/data", "method=ancer", "method.iterations=7", "data.subset=null"],
        ["classifier=small_cnn", "train=macer", "train.batch=64", "certify.grid=1/255", "certify.clamp=[0,1]"],
        ["threat={brightness: 2, blur: 1}", "certify.paths={rotation: 30, rotation+brightness: [30, 0.2]}"],
        ["train=covariance", "train.rounds=2", "classifier=resnet", "classifier.depth=56"],
        ["train=consistency", "train.objective.copies=3"],
        ["train=covariance", "train.objective=consistency"],
        ["train=own", "train.objective._target_=mine.Mine", "+train.objective.power=1"],
        ["output_root=a folder", "classifier.normalize.mean=[0.5]", "classifier.normalize.std=[0.2]"],
    ],
)
def test_the_command_of_a_run_makes_it_again(words: list[str]) -> None:
    found = settings(*words)
    program, stage, *again = shlex.split(command_of(found))
    assert (program, stage) == ("rddrs", "run") and settings(*again) == found


def test_where_a_run_is_shown_fits_80_columns(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the folder of the work, whatever its name; elsewhere the database is named in full."""
    monkeypatch.chdir(tmp_path)
    show_dashboard(Console(width=80), Path("outputs"), "123")
    command, place = capsys.readouterr().out.splitlines()
    assert command == "dashboard    mlflow ui --backend-store-uri sqlite:///outputs/mlflow.db" and len(place) <= 80
    show_dashboard(Console(width=80), Path("/elsewhere"), "1")
    assert "sqlite:////elsewhere/mlflow.db" in capsys.readouterr().out


def test_a_finished_run_is_drawn_again_only_where_it_would_be_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(manifest, "commit", lambda: "0" * 40)
    asked = (*SMALL, f"output_root={tmp_path}")
    prepared = prepare(settings(*asked))
    run(prepared)
    page = prepared.places.page
    severities = severities_of(prepared, merged(prepared), None)
    before = page.read_bytes(), page.stat().st_mtime_ns
    run(prepared)
    assert (page.read_bytes(), page.stat().st_mtime_ns) == before, "nothing is written"
    assert as_it_was(prepared, severities) is not None
    assert as_it_was(prepared, severities.assign(severity=1.0)) is None, "another table"
    page.write_text("another page")
    assert as_it_was(prepared, severities) is None, "a file that was changed"
    page.write_bytes(before[0])
    assert as_it_was(prepared, severities) is not None
    with monkeypatch.context() as patch:
        for commit in ("1" * 40, "0" * 40 + "-dirty"):
            patch.setattr(manifest, "commit", lambda commit=commit: commit)
            assert as_it_was(prepared, severities) is None, "other code"
    with monkeypatch.context() as patch:
        patch.setattr(pipelines.report, "finished_in", Mock(side_effect=sqlite3.OperationalError("database is locked")))
        safe = rf"mlflow\.db: database is locked; {prepared.run_folder} keeps every certificate: .* same command again"
        with pytest.raises(Ended, match=safe):
            work("run", composed(*asked))
    prepared.root.database.unlink()
    assert as_it_was(prepared, severities) is None, "no dashboard knows it"


def test_a_counterpart_whose_report_was_stopped_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its records are there before its page, and before MLflow has its figures."""
    prepared, reported = prepare(settings(*SMALL, "method=ancer", "threat=[brightness]", f"output_root={tmp_path}")), []
    monkeypatch.setattr(pipelines.run, "certify", lambda _: None)
    monkeypatch.setattr(pipelines.run, "report", lambda it, **_: reported.append(it))
    prepared.places.regions.mkdir(parents=True)
    for index in prepared.indices:
        prepared.places.region(index).touch()
    prepared.counterpart.run_folder.mkdir()
    prepared.counterpart.places.records.touch()
    complete(prepared)
    assert reported == [prepared.counterpart, prepared]
    monkeypatch.setattr(pipelines.run, "finished_in", lambda *_: "1")
    complete(prepared)
    assert reported == [prepared.counterpart, prepared, prepared]


def test_trained_weights_that_are_damaged_are_named(tmp_path: Path) -> None:
    prepared = prepare(settings(*SMALL, f"output_root={tmp_path}"))
    prepared.classifier_folder.mkdir(parents=True)
    prepared.classifier_places.weights.write_bytes(b"cut")
    with pytest.raises(Unreadable, match=r"weights\.safetensors is damaged .*: delete it and run again"):
        give_weights(prepared)


def test_a_training_that_diverges_is_no_damaged_file(tmp_path: Path) -> None:
    prepared = prepare(settings(*SMALL, "train.optimizer=sgd", "train.learning_rate=1e30", f"output_root={tmp_path}"))
    with pytest.raises(SettingsError, match=r"diverged: .* after epoch 1: lower train\.learning_rate=1e\+30"):
        give_weights(prepared)
    assert not prepared.is_trained and not [*prepared.classifier_folder.glob("*.ckpt")]
