"""MLflow's database in folders of any name, and after its folder was moved."""

from pathlib import Path

import pytest

from rddrs.records.tracking import Tracker, logged


@pytest.mark.parametrize("name", ["a?b %20ü#x"])
def test_artifacts_follow_the_database(tmp_path: Path, name: str) -> None:
    before, now, content = tmp_path / name, tmp_path / "moved", tmp_path / "f.txt"
    content.write_text("1")
    first = Tracker(before, "run", before / "note", {})
    first.metrics({"a": 1.0})
    first.link([content], "files")
    assert (before / "mlflow.db").is_file() and first.artifacts.is_relative_to(before)
    before.rename(now)
    assert (logged(now, first.run_id).artifacts / "files" / "f.txt").read_text() == "1"
    again = Tracker(now, "run", now / "note", {})
    assert again.run_id == first.run_id and again.artifacts.is_relative_to(now)
    assert (again.artifacts / "files" / "f.txt").read_text() == "1" and not before.exists()
    assert logged(now, again.run_id).metrics == {"a": {0: 1.0}}
