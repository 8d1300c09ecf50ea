"""MLflow's database in folders of any name, and after its folder was moved."""

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rddrs.files import write_text
from rddrs.records import tracking
from rddrs.records.tracking import Tracker, logged


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with one run: to make a database takes a second."""
    root = tmp_path_factory.mktemp("outputs") / "a?b %20ü#x"
    run, content = Tracker(root, "run", root / "note", {}), root / "f.txt"
    content.write_text("1")
    run.metrics({"a": 1.0})
    run.link([content], "files")
    return root


def test_artifacts_follow_the_database(made: Path, tmp_path: Path) -> None:
    before, now = tmp_path / made.name, tmp_path / "moved"
    shutil.copytree(made, before)
    first = Tracker(before, "run", before / "note", {})
    assert (before / "mlflow.db").is_file() and first.artifacts.is_relative_to(before)
    before.rename(now)
    assert (logged(now, first.run_id).artifacts / "files" / "f.txt").read_text() == "1"
    again = Tracker(now, "run", now / "note", {})
    assert again.run_id == first.run_id and again.artifacts.is_relative_to(now)
    assert (again.artifacts / "files" / "f.txt").read_text() == "1" and not before.exists()
    assert logged(now, again.run_id).metrics == {"a": {0: 1.0}}


def test_two_that_report_a_run_at_once_share_it(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    shutil.copytree(made, root)

    def slowly(path: Path, text: str) -> None:
        time.sleep(0.2)
        write_text(path, text)

    monkeypatch.setattr(tracking, "write_text", slowly)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: Tracker(root, "run", root / "another", {}).run_id, range(2))
    assert first == second


def test_a_copy_is_audited_by_its_own_artifacts(made: Path, tmp_path: Path) -> None:
    """Its database names those of the original until a run is made in it."""
    copy, run = tmp_path / "copy", (made / "note").read_text()
    shutil.copytree(made, copy)
    (copy / "mlartifacts" / run / "artifacts" / "files" / "f.txt").write_text("9")
    assert (logged(copy, run).artifacts / "files" / "f.txt").read_text() == "9"
