"""What is published is what was proved: planted lies are found by the audit, with file, input and column."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pipelines.audit import audit
from pipelines.certify import certify
from pipelines.errors import SettingsError
from pipelines.prepare import Prepared, prepare
from pipelines.report import report
from pipelines.run import run
from rddrs.digests import file_digest
from rddrs.records import Store
from rddrs.records.tracking import Tracker, logged
from tests.pipelines.test_config import settings

SMALL = ["data=toy2d", "train.epochs=2", "certify.samples=2000", "certify.batch=128", "data.reference=50"]
SMALL += ["method=ancer", "method.iterations=5", "data.subset=5", "audit.samples=500"]
INPUT = 60


def at(root: Path, *overrides: str) -> Prepared:
    return prepare(settings(*SMALL, f"output_root={root}", *overrides))


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of an honest run."""
    root = tmp_path_factory.mktemp("honest")
    run(at(root))
    return root


@pytest.fixture
def root(honest: Path, tmp_path: Path) -> Path:
    """A copy of it to lie in."""
    return Path(shutil.copytree(honest, tmp_path / "outputs"))


def rewrite(path: Path, change: Callable[[dict, dict], None]) -> None:
    """Change the tensors and the statements of a region."""
    with safe_open(path, "pt") as file:
        stated = {name: json.loads(text) for name, text in file.metadata().items()}
    tensors = load_file(path)
    change(tensors, stated)
    save_file(tensors, path, {name: json.dumps(value) for name, value in stated.items()})


def bless(folder: Path) -> None:
    """Write the right digests into the manifest, so that a lie must be found by what it says."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] = {name: file_digest(folder / name) for name in manifest["files"]}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def found(prepared: Prepared) -> set[tuple[str, int | None, str]]:
    """The file, input and column of every wrong value of a run whose audit must fail."""
    with pytest.raises(SystemExit) as caught:
        audit(prepared)
    assert caught.value.code == 1
    stated = json.loads((prepared.run_folder / "audit.json").read_text())["differences"]
    return {(it["file"], it["input"], it["column"]) for it in stated}


def certificate(**values) -> Callable[[dict, dict], None]:
    """A lie about the certificate, in its region's record as well."""

    def change(_: dict, stated: dict) -> None:
        stated["certificate"] |= values
        stated["record"] |= {name: value for name, value in values.items() if name in stated["record"]}

    return change


def larger_scale(tensors: dict, _: dict) -> None:
    tensors["theta"] = 1.5 * tensors["theta"]


def other_counts(_: dict, stated: dict) -> None:
    stated["certificate"]["counts"] = [2000, 0, 0]


LIES = {
    "radius": (certificate(radius=3.0), "radius"),
    "class": (certificate(prediction=7), "prediction"),
    "bound of p": (certificate(p_lower=0.999), "p_lower"),
    "scale": (larger_scale, "proxy_radius"),
    "counts": (other_counts, "p_lower"),
    "seed": (certificate(seed=5), "seed"),
    "alpha": (certificate(alpha=0.4), "alpha"),
    "bound": (certificate(bound="randomized_clopper_pearson"), "bound"),
    "n": (certificate(samples=1000), "samples"),
    "selection size": (certificate(selection_samples=10), "selection_samples"),
    "batch": (certificate(batch=64), "batch"),
    "label": (lambda _, stated: stated["record"].update(label=2 - stated["record"]["label"] + 5), "label"),
    "fidelity": (lambda _, stated: stated["record"].update(fidelity=0.123), "fidelity"),
    "interval": (lambda _, stated: stated["record"].update(fidelity_low=0.999), "fidelity_low"),
    "baseline": (lambda _, stated: stated["record"].update(baseline="as_long"), "baseline"),
}


def test_an_honest_run_passes(honest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audit(at(honest))
    stated = json.loads((at(honest).run_folder / "audit.json").read_text())
    assert (stated["audited"], stated["broken"], stated["differences"]) == (5, 0, [])
    audit(at(honest))  # what it wrote is no difference


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_in_a_region_is_found(root: Path, lie: str) -> None:
    prepared, (change, column) = at(root), LIES[lie]
    store = Store(prepared.run_folder)
    rewrite(store.path(INPUT), change)
    bless(prepared.run_folder)
    assert (f"regions/{INPUT}.safetensors", INPUT, column) in found(prepared)


def test_another_input_is_found(root: Path) -> None:
    prepared = at(root)
    store = Store(prepared.run_folder)
    rewrite(store.path(INPUT), lambda tensors, _: tensors.update(x=tensors["x"] + 0.01))
    bless(prepared.run_folder)
    assert (f"regions/{INPUT}.safetensors", INPUT, "x") in found(prepared)


def test_a_row_of_the_table_is_checked(root: Path) -> None:
    prepared = at(root)
    path = prepared.run_folder / "records.parquet"
    table = pd.read_parquet(path)
    table.loc[table["index"] == INPUT, "ball_radius"] *= 1.01
    table.to_parquet(path, index=False)
    bless(prepared.run_folder)
    assert found(prepared) == {("records.parquet", INPUT, "ball_radius")}


def test_a_table_with_a_row_less_is_found(root: Path) -> None:
    prepared = at(root)
    path = prepared.run_folder / "records.csv"
    pd.read_csv(path).iloc[1:].to_csv(path, index=False)
    bless(prepared.run_folder)
    assert found(prepared) == {("records.csv", None, "index")}


def test_a_mean_of_the_summary_is_checked(root: Path) -> None:
    prepared = at(root)
    path = prepared.run_folder / "summary.json"
    summary = json.loads(path.read_text())
    path.write_text(json.dumps(summary | {"acr_proxy": summary["acr_proxy"] + 0.1}))
    bless(prepared.run_folder)
    assert found(prepared) == {("summary.json", None, "acr_proxy")}


@pytest.mark.parametrize(("column", "place"), [("acr_ball", None), ("input/radius", INPUT)])
def test_a_metric_of_mlflow_is_checked(root: Path, column: str, place: int | None) -> None:
    prepared = at(root)
    with sqlite3.connect(root / "mlflow.db") as database:
        for table in ("metrics", "latest_metrics"):
            database.execute(f"UPDATE {table} SET value = 9 WHERE key = ? AND step = ?", (column, place or 0))
    database.close()
    assert found(prepared) == {("MLflow", place, column.removeprefix("input/"))}


def test_a_comparison_is_checked(root: Path) -> None:
    prepared = at(root)
    report(prepare(settings(*SMALL, f"output_root={root}", f"runs=[{prepared.run_folder.name}]")))
    audit(prepared)
    (path,) = root.glob("comparisons/*/comparison.csv")
    table = pd.read_csv(path)
    table.assign(certified_accuracy=table["certified_accuracy"] + 0.1).to_csv(path, index=False)
    assert found(prepared) == {(f"comparisons/{path.parent.name}/comparison.csv", None, "certified_accuracy")}


@pytest.mark.parametrize("name", [f"regions/{INPUT}.safetensors", "records.csv", "report.html", "manifest.json"])
def test_a_file_that_was_removed_is_named(root: Path, name: str) -> None:
    prepared = at(root)
    (prepared.run_folder / name).unlink()
    assert name in {file for file, *_ in found(prepared)}


def test_a_file_that_was_changed_or_added_is_named(root: Path) -> None:
    prepared = at(root)
    (prepared.run_folder / "figures" / "fidelity.svg").write_text("<svg/>")
    (prepared.run_folder / "regions" / "1.safetensors").write_text("more")
    assert {("figures/fidelity.svg", None, "sha256"), ("regions/1.safetensors", None, "sha256")} <= found(prepared)


def test_a_region_of_another_run_is_refused_and_found(root: Path) -> None:
    """Of another sigma: its certificate is honest, but not one of this run."""
    prepared, other = at(root), at(root, "sigma=0.4")
    certify(other)
    shutil.copy(Store(other.run_folder).path(INPUT), Store(prepared.run_folder).path(INPUT))
    bless(prepared.run_folder)
    for stage in (certify, report):
        with pytest.raises(SettingsError, match=rf"{INPUT}\.safetensors is of another classifier and configuration"):
            stage(prepared)
    wrong = found(prepared)
    assert {(f"regions/{INPUT}.safetensors", INPUT, name) for name in ("classifier", "configuration")} <= wrong


def test_other_weights_are_refused_and_found(root: Path) -> None:
    prepared = at(root)
    path = prepared.classifier_folder / "weights.safetensors"
    save_file({name: 1.1 * tensor for name, tensor in load_file(path).items()}, path)
    for stage in (certify, report):
        with pytest.raises(SettingsError, match="is of another classifier than this run"):
            stage(at(root))
    assert (f"regions/{INPUT}.safetensors", INPUT, "classifier") in found(at(root))


def test_a_memorys_outcome_is_checked(root: Path) -> None:
    prepared = at(root, "certify.mode=memory")
    run(prepared)
    audit(prepared)
    path = prepared.run_folder / "memory" / f"{INPUT}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"radius": 0.001}))
    bless(prepared.run_folder)
    assert (f"memory/{INPUT}.json", INPUT, "radius") in found(prepared)


def test_a_folder_from_elsewhere_is_audited_with_weights_and_data_alone(root: Path, tmp_path: Path) -> None:
    prepared = at(root)
    received = Path(shutil.copytree(prepared.run_folder, tmp_path / "received"))
    weights = shutil.copy(prepared.classifier_folder / "weights.safetensors", tmp_path / "weights.safetensors")
    shutil.rmtree(root)
    elsewhere = [f"run={received}", f"output_root={tmp_path / 'elsewhere'}", "audit.samples=500"]
    with pytest.raises(SettingsError, match=r"classifier\.checkpoint=FILE says where they are"):
        audit(prepare(settings(*elsewhere)))
    audit(prepare(settings(*elsewhere, f"classifier.checkpoint={weights}")))
    assert json.loads((received / "audit.json").read_text())["audited"] == 5
    save_file({name: 1.1 * tensor for name, tensor in load_file(weights).items()}, weights)
    wrong = found(prepare(settings(*elsewhere, f"classifier.checkpoint={weights}")))
    assert (f"regions/{INPUT}.safetensors", INPUT, "classifier") in wrong
    with pytest.raises(SettingsError, match=r"there is no config.yaml"):
        settings(f"run={tmp_path}")


def test_the_last_metric_is_shown_and_nothing_is_logged_twice(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path, "run", tmp_path / "note", {})
    records = pd.DataFrame({"index": [3, 7], "radius": [0.9, 0.8]})
    for value in (0.9, 0.5, 0.5, 0.7, 0.6):
        tracker.metrics({"acr": value})
        tracker.per_input(records.assign(radius=value), ["radius"])
    metrics, per_input = logged(tmp_path, tracker.run_id, ["radius"])
    assert metrics["acr"] == 0.6 and per_input == {"radius": {3: 0.6, 7: 0.6}}
    history = tracker._client.get_metric_history(tracker.run_id, "acr")
    assert [it.value for it in sorted(history, key=lambda it: it.timestamp)] == [0.9, 0.5, 0.7, 0.6]


def test_a_report_that_was_killed_is_repaired_by_running_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the disk fills up, the same command gives the same tables, and an audit that passes."""
    prepared = at(root)
    table = pd.read_parquet(prepared.run_folder / "records.parquet")
    import os

    real, left = os.replace, iter([0, 2, 5, 9, 14])
    for allowed in left:
        calls = iter(range(allowed))

        def full(*paths, calls=calls):
            if next(calls, None) is None:
                raise OSError(28, "No space left on device")
            real(*paths)

        with monkeypatch.context() as patch:
            patch.setattr("os.replace", full)
            with pytest.raises(OSError, match="No space left"):
                report(prepared)
        assert Store(prepared.run_folder, prepared.binding).finished() == set(prepared.indices)
    report(prepared)
    pd.testing.assert_frame_equal(pd.read_parquet(prepared.run_folder / "records.parquet"), table)
    audit(prepared)
    assert np.all([not path.name.endswith(".part") for path in prepared.run_folder.rglob("*")])
