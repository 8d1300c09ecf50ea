"""The pipeline as a user runs it: whole processes, real training, real MLflow."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlparse

import numpy as np
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient

from pipelines.audit import audit
from pipelines.certify import IDLE, Maker, certify, processes
from pipelines.errors import SettingsError
from pipelines.means import share_scale, standard_of
from pipelines.prepare import Prepared, prepare
from pipelines.proof import findings
from pipelines.report import report
from pipelines.run import run
from pipelines.train import train
from rddrs import open_run
from rddrs.certification import ABSTAIN
from rddrs.noise import Isotropic, Purpose, Stream, load_scale, save_scale
from rddrs.records.store import COLUMNS, Store
from rddrs.records.tracking import database
from rddrs.smoothing import SmoothedClassifier, predict
from rddrs.trust import certificate_digest
from tests.pipelines.liars import Liar
from tests.pipelines.processes import heed_ctrl_c
from tests.pipelines.test_config import settings

ROOT = Path(__file__).parents[2]
SMALL = ["data=toy2d", "train.epochs=2", "certify.samples=2000", "certify.batch=128", "data.reference=50"]
TIMES = ["optimize_seconds", "certify_seconds"]


def start(commands: Path, stage: str, root: Path, *overrides: str) -> subprocess.Popen[str]:
    """A stage in a process that has made its imports."""
    command = [commands / "rddrs", stage, *SMALL, f"output_root={root}", *overrides]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=heed_ctrl_c,
    )


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def only_run(root: Path, method: str) -> Path:
    (folder,) = root.glob(f"runs/toy2d-{method}-*")
    return folder


@pytest.fixture(scope="module")
def root(commands: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output root on which two processes of one classifier started together."""
    root = tmp_path_factory.mktemp("outputs")
    together = [start(commands, "run", root, f"method={method}", "data.subset=9") for method in ("rs", "ancer")]
    for process in together:
        assert "mlflow ui --backend-store-uri" in finish(process)
    return root


def test_a_run_writes_what_it_promises(root: Path) -> None:
    folder = only_run(root, "ancer")
    table = pd.read_parquet(folder / "records.parquet")
    assert table.columns[: len(COLUMNS)].tolist() == COLUMNS
    assert table["index"].tolist() == [position * 300 // 9 for position in range(9)]
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["inputs"] == 9
    assert summary["acr_proxy"] == pytest.approx((table["proxy_radius"] * table["correct"]).mean())
    assert (folder / "config.yaml").exists()
    assert {path.suffix for path in (folder / "figures").iterdir()} >= {".png"}
    certificate = Store(folder).certificate(33)
    row = table.set_index("index").loc[33]
    assert certificate.proxy_radius == row["proxy_radius"]
    assert certificate.ball_radius == row["ball_radius"]


def test_a_finished_run_is_opened_again(root: Path) -> None:
    folder = only_run(root, "ancer")
    opened = open_run(folder)
    pd.testing.assert_frame_equal(opened.table, pd.read_parquet(folder / "records.parquet"))
    index = int(opened.table["index"].iloc[-1])
    assert opened.certificate(index).radius == opened.table["radius"].iloc[-1]
    assert {f"{name}.svg" for name in opened.figures} < {path.name for path in (folder / "figures").iterdir()}
    assert repr(opened) == f"OpenedRun({folder.name}: 9 inputs)" and "<th>fidelity</th>" in opened._repr_html_()
    with pytest.raises(ValueError, match="runs is no finished run"):
        open_run(folder.parent)


def test_the_classifier_is_trained_once_for_both_methods(root: Path) -> None:
    assert len(list(root.glob("classifiers/*/weights.safetensors"))) == 1
    client = MlflowClient(database(root))
    experiment = client.get_experiment_by_name("rddrs")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.data.tags["stage"] for run in runs) == ["certify", "certify", "train"]
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_mlflow_holds_parameters_versions_metrics_by_index_and_every_region(root: Path) -> None:
    folder = only_run(root, "ancer")
    client = MlflowClient(database(root))
    run = client.get_run((folder / "mlflow_run_id").read_text())
    assert run.data.params["method.gamma"] == "0.04"
    assert run.data.tags["version.torch"].startswith("2.")
    assert "mlflow.source.git.commit" in run.data.tags
    table = pd.read_parquet(folder / "records.parquet")
    history = client.get_metric_history(run.info.run_id, "input/proxy_radius")
    assert {metric.step: metric.value for metric in history} == dict(
        zip(table["index"], table["proxy_radius"], strict=True)
    )
    regions = {Path(item.path).stem for item in client.list_artifacts(run.info.run_id, "regions")}
    assert regions == {str(index) for index in table["index"]}
    artifacts = Path(unquote(urlparse(run.info.artifact_uri).path))
    assert (artifacts / "regions" / "33.safetensors").samefile(folder / "regions" / "33.safetensors"), "no copy"


def test_a_finished_run_that_is_started_again_changes_nothing(commands: Path, root: Path) -> None:
    folder = only_run(root, "rs")
    before = {path: path.stat().st_mtime_ns for path in (folder / "regions").iterdir()}
    table = pd.read_parquet(folder / "records.parquet")
    finish(start(commands, "run", root, "method=rs", "data.subset=9"))
    assert {path: path.stat().st_mtime_ns for path in (folder / "regions").iterdir()} == before
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "records.parquet"), table)
    client = MlflowClient(database(root))
    history = client.get_metric_history((folder / "mlflow_run_id").read_text(), "input/radius")
    assert len(history) == 9


def test_inputs_that_are_counted_together_as_on_a_device_have_the_records_of_inputs_alone(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.symlink(root / "classifiers", tmp_path / "classifiers")
    prepared = prepare(settings(*SMALL, "method=ancer", "data.subset=9", f"output_root={tmp_path}"))
    together, proven = [], Maker.proven
    monkeypatch.setattr("pipelines.certify.CALLS", 70)
    monkeypatch.setattr("pipelines.certify.MANY", 3)
    monkeypatch.setattr("pipelines.certify.cpu_count", lambda: 4)  # three others, which find the severities:
    monkeypatch.setattr("rddrs.records.record.certified_severities", None)
    monkeypatch.setattr(Maker, "on_cores", Maker.on_a_device)
    monkeypatch.setattr(Maker, "proven", lambda self, indices: together.append(len(indices)) or proven(self, indices))
    certify(prepared)
    assert together == [4, 4, 1]
    expected = pd.read_parquet(only_run(root, "ancer") / "records.parquet").drop(columns=TIMES)
    found = Store(prepared.run_folder).records(prepared.indices)
    pd.testing.assert_frame_equal(found.reindex(columns=expected.columns), expected)


def test_severities_are_found_here_where_a_perturbation_cannot_be_sent() -> None:
    with processes(3, threading.Lock()) as others:
        assert others is None


def test_other_processes_end_where_nobody_gives_them_work() -> None:
    """Nobody else ends them where their own process was killed, and they heed no Ctrl-C."""
    with processes(3, None) as others:
        assert vars(others)["_timeout"] == IDLE


def test_finished_runs_are_set_side_by_side(root: Path) -> None:
    names = [only_run(root, method).name for method in ("rs", "ancer")]
    report(prepare(settings(*SMALL, f"output_root={root}", f"runs=[{','.join(names)}]")))
    (folder,) = root.glob("comparisons/*")
    table = pd.read_csv(folder / "comparison.csv")
    assert table["run"].tolist() == names and table["inputs"].tolist() == [9, 9]
    assert (folder / "report.html").stat().st_size > 10_000
    assert (folder / "figures" / "regions.png").exists(), "decision regions, in the plane"
    with pytest.raises(SettingsError, match=r"runs: .*none is no finished run.*there are"):
        report(prepare(settings(*SMALL, f"output_root={root}", "runs=[none]")))


def test_killed_and_resumed_sharded_and_serial_runs_agree(commands: Path, root: Path, tmp_path: Path) -> None:
    """The same configuration: whole in one thread; killed in the middle and resumed; and in two shards, last first."""
    overrides = [*SMALL, "method=rddrs_paper", "method.samples=200", "method.iterations=5", "data.subset=24"]

    def at(name: str, *more: str) -> Prepared:
        place = tmp_path / name
        if not place.exists():
            place.mkdir()
            os.symlink(root / "classifiers", place / "classifiers")
        return prepare(settings(*overrides, f"output_root={place}", *more))

    def records(prepared: Prepared) -> pd.DataFrame:
        return Store(prepared.run_folder).records(prepared.indices).drop(columns=TIMES)

    whole = at("whole", "certify.workers=1")
    certify(whole)

    killed = at("killed")
    regions = Store(killed.run_folder).regions
    process = start(commands, "certify", killed.settings.root, *overrides)
    deadline = time.monotonic() + 120
    while len(list(regions.glob("*.safetensors"))) < 3:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = {path: path.stat().st_mtime_ns for path in regions.glob("[0-9]*.safetensors")}
    assert 3 <= len(kept) < 24, "killed in the middle"
    certify(killed)
    assert all(path.stat().st_mtime_ns == written for path, written in kept.items()), "nothing is done twice"

    certify(at("shards", "shard.count=2", "shard.index=1"))
    with pytest.raises(SettingsError, match=r"12 of 24 inputs are not certified yet: \[0, 25, 50"):
        report(at("shards"))
    certify(at("shards", "shard.count=2", "shard.index=0"))

    pd.testing.assert_frame_equal(records(whole), records(killed))
    pd.testing.assert_frame_equal(records(whole), records(at("shards")))


def test_ctrl_c_in_training_keeps_whole_epochs_and_ends_with_130(commands: Path, tmp_path: Path) -> None:
    process = start(commands, "train", tmp_path, "train.epochs=2000")
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("classifiers/*/last.ckpt")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "run the same command again to go on" in output
    assert list(tmp_path.glob("classifiers/*/epoch.ckpt")) and not list(tmp_path.glob("classifiers/*/*.safetensors"))


def test_a_second_ctrl_c_ends_at_once_and_keeps_what_was_finished(commands: Path, tmp_path: Path) -> None:
    process = start(commands, "run", tmp_path, "train.epochs=1", "certify.samples=200000")
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("runs/*/regions/*.safetensors")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "run the same command again to go on" in output and "terminate" not in output
    assert list(tmp_path.glob("runs/*/regions/*.safetensors"))


def test_bad_input_is_one_message_and_status_2(commands: Path, tmp_path: Path) -> None:
    process = start(commands, "run", tmp_path, "sigma=-1")
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 2
    assert output.strip() == "error: sigma=-1: Input should be greater than 0"
    assert not list(tmp_path.glob("*/*")), "no work was started"


def test_where_lightning_cannot_be_imported_training_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        """Finds the module of the training, and fails as torchvision does beside a torch of another build."""

        @staticmethod
        def find_spec(name: str, *_: object) -> None:
            if name == "rddrs.training.fit":
                raise RuntimeError("operator torchvision::nms does not exist")

    for name in ("rddrs.training.fit", "pipelines.fitting"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken, *sys.meta_path])
    with pytest.raises(SettingsError, match=r"torchvision::nms does not exist.*without the extra"):
        run(prepare(settings("data=toy2d", f"output_root={tmp_path}")))
    assert not (tmp_path / "mlflow.db").exists(), "before any work starts"


def test_one_scale_for_all_inputs_is_trained_with_the_network_and_kept(root: Path) -> None:
    rounds = ["train=covariance", "train.rounds=2", "train.round_epochs=1", "train.last_epochs=1", "train.keep=0.5"]
    prepared = prepare(settings(*SMALL, *rounds, "method=rddrs_global", "data.subset=9", f"output_root={root}"))
    run(prepared)
    scale = load_scale(prepared.classifier_folder / "scale.safetensors")
    table = pd.read_parquet(prepared.run_folder / "records.parquet")
    assert set(table["mode"]) == {"global"}
    assert np.allclose(table["log_det"], scale.log_det) and scale.geometric_mean > 0.5
    assert scale.eigenvalues[0] >= 0.5 - 1e-6
    assert not prepared.network.training
    (prepared.classifier_folder / "scale.safetensors").unlink()
    train(prepare(prepared.settings))
    assert load_scale(prepared.classifier_folder / "scale.safetensors").digest == scale.digest, "no C of another search"
    start = prepare(settings(*SMALL, "method=rs", f"output_root={root}"))
    assert_fidelity_relative_to(start, "start", prepared)
    weights = prepared.classifier_folder / "weights.safetensors"
    given = [f"run={prepared.run_folder}", f"classifier.checkpoint={weights}", "audit.inputs=1", "audit.samples=100"]
    elsewhere = prepare(settings(*given, f"output_root={root / 'elsewhere'}"))
    assert standard_of(elsewhere) == ("itself", elsewhere.network)
    found = findings(elsewhere)
    assert not found.wrong and any("(baseline start): its accuracy" in note for note in found.notes)
    liar = Liar(root, prepared)
    liar.region(lambda _, stated: stated["record"].update(baseline="as_long"), index=prepared.indices[-1])
    liar.region(lambda _, stated: stated["record"].update(fidelity=0.9), index=prepared.indices[-2])
    named = {(it.input, it.column) for it in findings(elsewhere).wrong if it.file.startswith("regions/")}
    assert named - {(None, "sha256")} == {(prepared.indices[-1], "baseline"), (prepared.indices[-2], "fidelity")}


def assert_fidelity_relative_to(other: Prepared, name: str, prepared: Prepared) -> None:
    """The fidelity of a run is that of held-out inputs, relative to another run's network under isotropic noise."""
    train(other)
    kept = prepared.data.measuring(50, 0)
    isotropic = SmoothedClassifier(other.network, Isotropic(0.5, kept.inputs[0].numel()))
    best = predict(isotropic, kept.inputs, Stream(0, 0, Purpose.BASELINE)) == kept.labels
    store = Store(prepared.run_folder)
    for index in prepared.indices[:3]:
        place = 0 if prepared.method.same_scale else index
        smoothed = SmoothedClassifier(prepared.network, store.certificate(index).scale)
        right = predict(smoothed, kept.inputs, Stream(0, place, Purpose.FIDELITY)) == kept.labels
        record = store.record(index)
        assert record["baseline"] == name
        assert record["fidelity"] == pytest.approx((right.sum() / best.sum()).item())
        assert record["fidelity_low"] < record["fidelity"] < record["fidelity_high"]


def test_a_scale_that_is_refused_is_said(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A step of no length: in the status, the summary, the closing table, on the page and beside the bar."""
    refused = ["method=rddrs_global", "method.gamma=1e-9", "method.rounds=1", "data.subset=4", f"output_root={root}"]
    prepared = prepare(settings(*SMALL, *refused))
    run(prepared)
    said = capsys.readouterr()
    assert re.search(r"refused: C is sigma I +4 of 4", said.out) and "sigma I" in said.err
    assert set(pd.read_parquet(prepared.run_folder / "records.parquet")["status"]) == {"refused"}
    assert json.loads((prepared.run_folder / "summary.json").read_text())["refused"] == 4
    assert "for 4 of 4 inputs every C but sigma I was refused" in (prepared.run_folder / "report.html").read_text()
    (path,) = prepared.classifier_folder.glob("scale-*.safetensors")
    prepared.store.path(prepared.indices[1]).unlink()
    save_scale(load_scale(path).scaled(2), path)
    with pytest.raises(SettingsError, match=r"holds inputs \(0, .*\) of another C .*: delete the regions"):
        certify(prepared)


def test_weights_do_not_depend_on_the_cores(root: Path) -> None:
    """Sums of two threads are rounded otherwise: training and the one C have a number of threads of their own."""
    found, keys, before = {}, set(), torch.get_num_threads()
    for threads, own in ((1, 1), (2, 1), (1, 2)):
        asked = ["data=digits", "train.epochs=1", "method=rddrs_global", "method.rounds=1", f"train.threads={own}"]
        asked += ["method.iterations=1", "method.outer=256"]
        prepared = prepare(settings(*asked, f"output_root={root}"))
        torch.set_num_threads(threads)
        try:
            train(prepared)
            share_scale(prepared, prepared.data.reference(500, 0, 1))
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(before)
        (path,) = prepared.classifier_folder.glob("scale-*.safetensors")
        found[threads, own] = (prepared.binding.classifier, load_scale(path).digest)
        keys.add(prepared.run_folder.name)
        shutil.rmtree(prepared.classifier_folder)
    assert found[1, 1] == found[2, 1] and len(keys) == 2
    assert found[1, 1][0] != found[1, 2][0], "or there was nothing to see"


def test_memory_and_audit_of_honest_and_of_planted_certificates(root: Path) -> None:
    overrides = [*SMALL, "method=ancer", "data.subset=9", "certify.mode=memory", f"output_root={root}"]
    prepared = prepare(settings(*overrides, "audit.samples=2000"))
    run(prepared)
    table = pd.read_parquet(prepared.run_folder / "records.parquet")
    assert np.all(table["radius"] <= table["raw_radius"])
    opened = open_run(prepared.run_folder)
    for index, radius in zip(table["index"], table["radius"], strict=True):
        assert opened.certificate(int(index)).radius == radius, "after the memory"
    audit(prepared)
    summary = json.loads((prepared.run_folder / "audit.json").read_text())
    assert (summary["broken"], summary["overlaps"]) == (0, 0)

    store = Store(prepared.run_folder)
    honest = store.certificate(33)
    store.save(replace(honest, radius=2 * honest.radius), store.record(33))
    ledger = store.folder / "memory" / "33.json"
    raw = certificate_digest(store.certificate(33))
    ledger.write_text(json.dumps(json.loads(ledger.read_text()) | {"radius": 2 * honest.radius, "raw": raw}))
    with pytest.raises(SystemExit) as caught:
        audit(prepared)
    assert caught.value.code == 1
    flags = pd.read_parquet(store.folder / "audit.parquet").set_index("index")["flags"]
    assert "radius" in flags[33] and set(flags.drop(33)) == {""}


def test_a_target_radius_is_decided_early_and_repeats_after_a_kill(root: Path) -> None:
    overrides = [*SMALL, "method=ancer", "data.subset=9", "certify.samples=20000", "certify.target_radius=0.2"]
    prepared = prepare(settings(*overrides, "certify.mode=memory", "audit.samples=2000", f"output_root={root}"))
    run(prepared)
    store = Store(prepared.run_folder)
    table = store.records(prepared.indices)
    yes = (table["decision"] == "yes").to_numpy()
    assert yes.any() and set(table["decision"]) <= {"yes", "no", "undecided"}
    assert np.all(table["ball_radius"] >= np.where(yes, 0.2, 0)) and np.all((table["prediction"] == -1) != yes)
    assert table["samples"].to_numpy()[yes].min() <= 20_000 / 20
    summary = json.loads((store.folder / "summary.json").read_text())
    assert summary["decided_yes"] == yes.sum() and summary["samples"] == table["samples"].mean()
    store.path(33).unlink()
    certify(prepared)
    pd.testing.assert_frame_equal(store.records(prepared.indices).drop(columns=TIMES), table.drop(columns=TIMES))
    report(prepared)  # the seconds of the input that was done again are published, too
    audit(prepared)
    assert json.loads((store.folder / "audit.json").read_text())["broken"] == 0


def test_a_threat_is_answered_beside_isotropic_noise(tmp_path: Path) -> None:
    """On digits, grown and post hoc: the counterpart, a contact sheet, shares; the audit attacks along it."""
    small = ["data=digits", "train.epochs=10", "train.learning_rate=3e-3", "data.subset=6", "certify.samples=500"]
    small += [f"output_root={tmp_path}", "data.reference=50", "certify.batch=100", "certify.workers=1"]
    asked = ["threat=[brightness]", "threat_at={brightness: 0.2}", "method=rddrs_global"]
    grown = ["train=covariance", "train.rounds=2", "train.round_epochs=1", "train.last_epochs=2", "train.keep=0.6"]
    aimed = prepare(settings(*small, *asked, *grown, "audit.samples=500"))
    run(aimed)
    plain = prepare(settings(*small, "method=rs", "train.epochs=13"))
    assert pd.read_parquet(plain.run_folder / "records.parquet")["index"].tolist() == aimed.indices
    assert_fidelity_relative_to(plain, "as_long", aimed)
    table = pd.read_csv(aimed.run_folder / "severities.csv").set_index("perturbation")
    assert table.loc["brightness", "ratio"] > max(2, table.loc["stripes", "ratio"])
    records = pd.read_parquet(aimed.run_folder / "records.parquet")
    ends = records[["severity_brightness_high", "severity_brightness_low"]].to_numpy() * [1, -1]
    assert (ends.min(axis=1) == records["severity_brightness"]).all() and (ends <= 1).all(), "white, or black, at 1"
    assert table.loc["brightness", "at"] == 0.2
    assert (aimed.run_folder / "figures" / "contact_sheet.png").exists()
    client = MlflowClient(database(tmp_path))
    metrics = client.get_run((aimed.run_folder / "mlflow_run_id").read_text()).data.metrics
    assert metrics["severity_ratio/brightness"] == pytest.approx(table.loc["brightness", "ratio"])
    assert metrics["certified_at/brightness"] == table.loc["brightness", "share"]
    assert metrics["certified_at_severity/brightness"] == 0.2
    audit(aimed)
    audits = pd.read_parquet(aimed.run_folder / "audit.parquet")
    assert {"along.brightness.inside.upper", "along.brightness.outside.upper"} <= set(audits.columns)
    share = json.loads((aimed.run_folder / "audit.json").read_text())["outside/brightness"]
    assert share == (audits["along.brightness.outside.upper"][audits["prediction"] != ABSTAIN] < 0.5).mean()
    metrics = client.get_run((aimed.run_folder / "mlflow_run_id").read_text()).data.metrics
    assert metrics["audit/outside/brightness"] == share
    trained = client.get_run((aimed.classifier_folder / "mlflow_run_id").read_text()).data.metrics
    assert {"round0-loss", "round1-loss"} <= trained.keys()
    post_hoc = prepare(settings(*small, *asked, "method.guard=0.8", "train.epochs=13"))
    assert post_hoc.counterpart.run_folder == plain.run_folder
    run(post_hoc)
    table = pd.read_csv(post_hoc.run_folder / "severities.csv").set_index("perturbation")
    assert table.loc["brightness", "ratio"] > max(1.1, table.loc["checkerboard", "ratio"])
