"""Where everything of a run lies has one owner, and the audit knows every name of it."""

from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from rddrs.records import OutputRoot, RunFolder
from rddrs.records.inventory import FILES
from rddrs.records.run_folder import Inside
from rddrs.trust import audited_inputs, expected_false_alarms


def test_the_audit_knows_every_place_of_a_run() -> None:
    run = OutputRoot(Path("outputs")).run("key")
    places = [getattr(run, name) for name, it in vars(RunFolder).items() if isinstance(it, Inside)]
    files = [path for path in places if path.suffix or path == run.mlflow_run]
    files += [run.region(3), run.scale("ab"), run.outcome(3), run.figures / "any.svg"]
    assert len(files) > 10 and {path.parent for path in places} == {run.path}
    assert all(any(fnmatchcase(run.relative(path), pattern) for pattern in FILES) for path in files)


def test_a_run_knows_its_root_wherever_it_is_asked_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = OutputRoot(tmp_path)
    run = root.run("key")
    run.path.mkdir(parents=True)
    monkeypatch.chdir(run.path)
    here = RunFolder(Path("."))
    assert here.name == "key" and here.root == OutputRoot(tmp_path.resolve())
    assert here.is_below(root) and not RunFolder(tmp_path / "key").is_below(root)
    assert not run.is_finished and root.finished() == []
    run.records.write_bytes(b"")
    assert run.is_finished and root.finished() == ["key"] and root.named("k") == "key"


@pytest.mark.parametrize(("count", "chosen"), [(1, [0]), (2, [0, 20]), (4, [0, 10, 20, 30]), (9, [0, 10, 20, 30])])
def test_the_audited_inputs_are_evenly_spaced(count: int, chosen: list[int]) -> None:
    assert audited_inputs([0, 10, 20, 30], count) == chosen
    assert audited_inputs([0, 10, 20, 30], None) == audited_inputs([0, 10, 20, 30]) == [0, 10, 20, 30]


def test_of_a_large_run_a_thousand_inputs_are_audited_that_the_seed_draws() -> None:
    indices = range(0, 5_000, 2)
    chosen = [audited_inputs(indices, seed=seed) for seed in (1, 1, 2)]
    assert all(len({*it}) == 1_000 and it == sorted(it) and {*it} <= {*indices} for it in chosen)
    assert chosen[0] == chosen[1] != chosen[2]
    assert audited_inputs(indices, None) == [*indices] and len(audited_inputs(indices, 7)) == 7


def test_false_alarms_add_up() -> None:
    """Two attacks and one certificate, and one each for a path."""
    assert expected_false_alarms(10, 0, 0.01, 0.001) == pytest.approx(10 * (2 * 0.01 + 0.001))
    assert expected_false_alarms(10, 3, 0.01, 0.001) == pytest.approx(10 * (5 * 0.01 + 4 * 0.001))
