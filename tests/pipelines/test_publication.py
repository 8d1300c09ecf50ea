"""What is published is what was proved: files that were changed are found by the audit, and honest runs pass it."""

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from pipelines.audit import audit
from pipelines.certify import certify
from pipelines.errors import SettingsError
from pipelines.prepare import Prepared, prepare
from pipelines.proof import examined
from pipelines.report import report
from pipelines.run import run
from pipelines.work import reason
from rddrs import Diagonal
from rddrs.records import Store
from rddrs.records.tracking import Tracker, logged
from tests.pipelines.liars import ANCER, Liar, at
from tests.pipelines.test_config import settings
from tests.records.test_faults import full_disk

INPUT = 100


def found(prepared: Prepared) -> set[tuple[str, int | None, str]]:
    """The file, input and column of every wrong value of a run whose audit must fail."""
    with pytest.raises(SystemExit) as caught:
        audit(prepared)
    assert caught.value.code == 1
    stated = json.loads((prepared.run_folder / "audit.json").read_text())["differences"]
    return {(it["file"], it["input"], it["column"]) for it in stated}


def test_an_honest_run_passes(root: Path) -> None:
    """Again after the audit wrote to it, after its report was drawn again with other questions, and its counterpart."""
    for prepared in (at(root), at(root), at(root).counterpart):
        audit(prepared)
        stated = json.loads((prepared.run_folder / "audit.json").read_text())
        assert (stated["audited"], stated["broken"], stated["differences"], stated["notes"]) == (1, 0, [], [])
    report(at(root, *ANCER, "threat_at={contrast: 0.2}"))
    audit(at(root))


def test_an_honest_run_in_l1_that_decides_early_passes(tmp_path: Path) -> None:
    prepared = at(
        tmp_path, "method=rddrs_global", "method.iterations=3", "certify.norm=l1", "certify.target_radius=0.02"
    )
    run(prepared)
    audit(prepared)


def test_one_c_for_all_inputs_is_one(root: Path) -> None:
    """Of rddrs_global a region with another C is named, whatever it proves."""
    prepared = at(root, "method=rddrs_global", "method.iterations=3")
    certify(prepared)
    store = Store(prepared.run_folder, prepared.binding)
    certificate = store.certificate(INPUT)
    other = replace(certificate, scale=Diagonal(torch.tensor([0.5, 0.7])))
    store.save(other, store.record(INPUT))
    _, wrong = examined(prepared, Store(prepared.run_folder))
    assert (f"regions/{INPUT}.safetensors", "scale") in {(it.file, it.column) for it in wrong}


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
    prepared, other = at(root), at(root, *ANCER, "sigma=0.4")
    certify(other)
    shutil.copy(Store(other.run_folder).path(INPUT), Store(prepared.run_folder).path(INPUT))
    Liar(root, prepared).bless()
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
    prepared = at(root, *ANCER, "certify.mode=memory")
    run(prepared)
    audit(prepared)
    path = prepared.run_folder / "memory" / f"{INPUT}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"radius": 0.001}))
    Liar(root, prepared).bless()
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
    stated = json.loads((received / "audit.json").read_text())
    assert stated["audited"] == 3 and stated["notes"] == [
        "severities.csv: ratio, rs are not audited: the counterpart is not here"
    ]
    save_file({name: 1.1 * tensor for name, tensor in load_file(weights).items()}, weights)
    wrong = found(prepare(settings(*elsewhere, f"classifier.checkpoint={weights}")))
    assert (f"regions/{INPUT}.safetensors", INPUT, "classifier") in wrong
    with pytest.raises(SettingsError, match=r"there is no config.yaml"):
        settings(f"run={tmp_path}")


def test_the_last_metric_is_shown_and_nothing_is_logged_twice(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path, "run", tmp_path / "note", {})
    for value in (0.9, 0.5, 0.5, 0.7, 0.6):
        tracker.metrics({"acr": value})
        tracker.curves({"input/radius": {3: value, 7: value}})
    assert logged(tmp_path, tracker.run_id).metrics == {"acr": {0: 0.6}, "input/radius": {3: 0.6, 7: 0.6}}
    history = tracker._client.get_metric_history(tracker.run_id, "acr")
    assert [it.value for it in sorted(history, key=lambda it: it.timestamp)] == [0.9, 0.5, 0.7, 0.6]


def test_a_full_disk_below_the_database_is_one_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tracker = Tracker(tmp_path, "run", tmp_path / "note", {})
    figures = {f"figure_{number}": 0.5 for number in range(100)}
    with full_disk((tmp_path / "mlflow.db").stat().st_size), pytest.raises(Exception, match="sqlite3") as told:
        tracker.metrics(figures)
    assert re.fullmatch(r"\(sqlite3\.OperationalError\) [\w /]+", reason(told.value))
    assert "Traceback" not in capfd.readouterr().err


def test_a_report_that_was_killed_is_repaired_by_running_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the disk fills up, the same command gives the same tables, and an audit that passes."""
    prepared = at(root)
    table = pd.read_parquet(prepared.run_folder / "records.parquet")
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
    (cut := prepared.places.figures / ".a.png.1-2.part").touch()  # of a process that was killed outright
    report(prepared)
    assert not [*prepared.root.path.glob("mlartifacts/*/artifacts/figures/.*")]
    cut.unlink()
    pd.testing.assert_frame_equal(pd.read_parquet(prepared.run_folder / "records.parquet"), table)
    audit(prepared)
    assert np.all([not path.name.endswith(".part") for path in prepared.run_folder.rglob("*")])
