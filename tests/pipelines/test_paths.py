"""Paths in a run: training with augmentation, columns, summary, figure, resuming, audit; real digits, real MLflow."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from safetensors import safe_open
from safetensors.torch import save_file

from pipelines import fitting
from pipelines.audit import audit
from pipelines.certify import certify
from pipelines.compare import compare_runs
from pipelines.errors import SettingsError
from pipelines.prepare import prepare
from pipelines.proof import examined, path_differences, path_flags
from pipelines.report import merged
from pipelines.run import run
from pipelines.train import train
from rddrs.records.paths import path_kept, path_rebuilt
from rddrs.records.store import Store
from rddrs.records.tracking import database
from rddrs.report import open_run, paths_figures
from rddrs.smoothing import SmoothedClassifier
from rddrs.threats import PERTURBATIONS
from rddrs.training.augmentation import Augmentation
from rddrs.training.cotraining import cotrain
from tests.pipelines.test_config import settings

SMALL = (
    *("data=digits", "data.subset=3", "data.reference=50", "method=rs", "sigma=0.25", "train.epochs=12"),
    *("certify.samples=1000", "certify.batch=128", "certify.path_samples=500", "train.augment={rotation: 12}"),
    "certify.paths={rotation: 5, blur: 0.3, scale: [-0.02, 0.03], rotation+brightness: [0.6, 0.01]}",
    *("audit.samples=1000", "audit.inputs=1"),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    root = tmp_path_factory.mktemp("outputs")
    prepared = prepare(settings(f"output_root={root}", *SMALL))
    run(prepared)
    return prepared


def test_records_and_summary_have_the_paths(finished):
    folder = finished.run_folder
    records = pd.read_parquet(folder / "records.parquet")
    summary = json.loads((folder / "summary.json").read_text())["paths"]
    assert {*summary} == {"rotation", "blur", "scale", "rotation+brightness"}
    assert summary["rotation"]["asked"] == [-5, 5] and summary["blur"]["asked"] == [0, 0.3]
    assert summary["rotation+brightness"]["asked"] == [[-0.6, -0.01], [0.6, 0.01]]
    for name, values in summary.items():
        right = records[f"path_{name}_prediction"] == records["label"]
        assert values["share"] == (records[f"path_{name}_complete"] & right).mean()
        assert values["share_low"] <= values["share"] <= values["share_high"]
        assert values["samples"] == records[f"path_{name}_samples"].mean() > 100
    assert records["path_rotation_low"].between(-5, 0).all() and records["path_scale_high"].between(0, 0.03).all()
    assert records["path_rotation+brightness_share"].between(0, 1).all()
    assert (records["path_rotation_status"] == "complete").equals(records["path_rotation_complete"])
    assert summary["rotation"]["share"] > 0 and {*records["paths_of"]} == {"a C of the input's own"}
    assert (folder / "figures" / "paths.png").exists()


def test_mlflow_and_the_page_have_them_too(finished):
    folder = finished.run_folder
    client = MlflowClient(database(finished.settings.root))
    metrics = client.get_run((folder / "mlflow_run_id").read_text()).data.metrics
    records = pd.read_parquet(folder / "records.parquet")
    assert metrics["path/blur/samples"] == records["path_blur_samples"].mean()
    page = (folder / "report.html").read_text()
    assert "all between included" in page and 'aria-label="Paths"' in page and "a C of the input&#39;s own" in page


def test_a_comparison_has_their_table_and_figure_beside_the_network_without_noise(finished, capsys):
    run = finished.run_folder.name
    drawn, left_out = paths_figures([open_run(finished.run_folder)])
    (figure,) = drawn.values()
    by_title = {axis.get_title("left"): axis for axis in figure.axes if axis.get_visible()}
    assert {*by_title} == {"rotation", "blur", "scale", "rotation+brightness"}
    certified, clean = (np.asarray(line.get_ydata()) for line in by_title["rotation"].lines)
    network, images = finished.network, [finished.data.test_inputs[index] for index in finished.indices]
    right = [network(x[None]).argmax().item() == int(finished.data.test_labels[i]) for i, x in
             zip(finished.indices, images, strict=True)]  # fmt: skip
    assert clean[10] == np.mean(right) and len(clean) == 21 and certified.max() <= 1
    assert left_out == []
    weights = finished.classifier_places.weights
    hidden = weights.rename(weights.with_name("hidden"))
    folder = compare_runs(finished.settings.root, [run])
    hidden.rename(weights)
    told = "Paths: rs at sigma 0.25 is not drawn without noise; its network cannot be made"
    assert told in capsys.readouterr().err and told in (folder / "report.html").read_text(), "what is not drawn is said"
    assert (folder / "figures" / "paths.png").exists() and 'aria-label="Paths"' in (folder / "report.html").read_text()


def test_files_hold_the_paths_and_nothing_is_done_twice(finished):
    store, index = Store(finished.run_folder), finished.indices[1]
    for name in ("rotation", "rotation+brightness"):
        scale = store.certificate(index).scale
        path = store.path_certificate(index, name, finished.paths[name])
        smoothed = SmoothedClassifier(finished.network, scale, grid=finished.grid)
        x = finished.data.test_inputs[index]
        again = finished.path_terms(name, scale).certify(smoothed, x, index=index, batch=128)
        assert (path.cells, path.low, path.high, path.asked) == (again.cells, again.low, again.high, again.asked)
        kept = json.loads(json.dumps(path_kept(path)))
        older = {key: value for key, value in kept.items() if key not in ("needed", "unrounded", "rules")}
        for stated, rules in (({}, 1), ({"centred": True}, 2)):
            rebuilt = path_rebuilt(older | stated, store.certificate(index), finished.paths[name])
            assert rebuilt.cells == path.cells and (path.rules, rebuilt.rules) == (3, rules)
    before = {it: it.stat().st_mtime_ns for it in store.regions.iterdir()}
    certify(finished)
    assert {it: it.stat().st_mtime_ns for it in store.regions.iterdir()} == before
    lost = finished.indices[2]
    whole, record = store.path(lost).read_bytes(), store.record(lost)
    store.path(lost).unlink()
    certify(finished)
    again = store.record(lost)
    assert {name for name in again if again[name] != record[name]} <= {it for it in again if it.endswith("_seconds")}
    store.path(lost).write_bytes(whole)


def test_shards_merge_to_the_records_of_one_process(tmp_path):
    few = ("data=digits", "data.subset=3", "data.reference=50", "method=rs", "sigma=0.25", "train.epochs=6")
    few += ("train.learning_rate=1e-2", "certify.samples=200", "certify.batch=128", "certify.path_samples=300")
    few += ("certify.paths={rotation: 1, rotation+brightness: [0.5, 0.01]}",)

    def at(name, *shard):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / "classifiers").mkdir(exist_ok=True)
        if not (tmp_path / name / "classifiers").exists():
            (tmp_path / name / "classifiers").symlink_to(tmp_path / "classifiers")
        return prepare(settings(f"output_root={tmp_path / name}", *few, *shard))

    certify(at("whole"))
    for index in (1, 0):
        certify(at("shards", "shard.count=2", f"shard.index={index}"))
    both = at("whole"), at("shards")
    for prepared in both:
        train(prepared)
    whole, shards = map(merged, both)
    seconds = [name for name in whole if name.endswith("_seconds")]
    pd.testing.assert_frame_equal(whole.drop(columns=seconds), shards.drop(columns=seconds))
    assert (
        whole["path_rotation_complete"].to_numpy().any()
        and (whole["path_rotation+brightness_share"] > 0).to_numpy().any()
    )
    for index in whole["index"]:
        for name, terms in both[0].paths.items():
            one, merged_one = (Store(it.run_folder).path_certificate(index, name, terms) for it in both)
            assert one.cells == merged_one.cells


def test_growth_pilots_and_rounds_of_a_co_training_see_perturbed_inputs(tmp_path, monkeypatch):
    """Light that is not clamped: an image and what was made of it differ by one number, each image by another."""
    seen, light = {}, 0.3

    class Counted(Augmentation):
        count = 0

        def __call__(self, inputs, source):
            Counted.count += len(inputs)
            return super().__call__(inputs, source)

    def watched(network, inputs, labels, pilots, *others, **options):
        seen.update(inputs=inputs, pilots=pilots, feared=options["feared"])
        Counted.count = 0
        return cotrain(network, inputs, labels, pilots, *others, **options)

    monkeypatch.setattr(fitting, "cotrain", watched)
    asked = ("data=digits", "train=covariance", "train.epochs=1", "train.rounds=2", "train.round_epochs=1")
    asked += ("train.last_epochs=2", "certify.clamp=null", "threat=[brightness]", "certify.paths={brightness: 0.2}")
    prepared = prepare(settings(f"output_root={tmp_path}", *asked, f"train.augment={{brightness: {light}}}"))
    (brightness,) = (it for it in PERTURBATIONS if it.name == "brightness")
    train(replace(prepared, augmentation=Counted({brightness: light}, None)))
    (inputs, _), pilots, seed = prepared.data.trained_on(0), prepared.data.pilots(0), prepared.settings.seed
    assert seed == 0 and torch.equal(seen["feared"], pilots.inputs), "a path begins at inputs as they are"
    for made, plain in ((seen["inputs"][:50], inputs[:50]), (seen["pilots"].inputs, pilots.inputs)):
        added = (made - plain).flatten(1)
        assert (added - added[:, :1]).abs().max() < 1e-6 and added.abs().max() <= light + 1e-6
        assert added[:, 0].min() < -light / 2 and added[:, 0].max() > light / 2
    assert Counted.count == 3 * len(inputs)


def test_an_audit_passes_and_finds_a_planted_end(finished, capsys):
    audit(prepare(settings(f"output_root={finished.settings.root}", *SMALL)))
    store, index = Store(finished.run_folder, finished.binding), finished.indices[0]
    certificate, record = store.certificate(index), store.record(index)
    paths = [store.path_certificate(index, name, terms) for name, terms in finished.paths.items()]
    store.save(certificate, record | {"path_rotation_low": -4.9}, paths=paths)
    try:
        with pytest.raises(SystemExit):
            audit(prepare(settings(f"output_root={finished.settings.root}", *SMALL)))
        assert "path_rotation_low" in capsys.readouterr().out
    finally:
        store.save(certificate, record, paths=paths)


def restated(finished, folder, index, change):
    """A store with the file of one input whose paths are changed."""
    with safe_open(Store(finished.run_folder).path(index), "pt") as file:
        header, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    stated = json.loads(header["paths"])
    change(stated)
    store = Store(folder)
    store.regions.mkdir(exist_ok=True)
    save_file(tensors, store.path(index), header | {"paths": json.dumps(stated)})
    return store


def test_a_path_that_cannot_be_read_is_a_flag(finished, tmp_path):
    index = finished.indices[0]

    def change(stated):
        stated["rotation"]["cells"][0] = stated["rotation"]["cells"][0][:4]
        stated["blur"]["selection_samples"] = "100"
        stated["scale"]["cells"][0][-2] = None

    store, broken = restated(finished, tmp_path, index, change), ("rotation", "blur", "scale")
    assert path_flags(finished, store, index, 128) == [f"path {name}: file" for name in broken]
    told = {it.column for it in examined(finished, store)[1] if it.input == index}
    assert told >= {f"path_{name}" for name in broken}


def test_paths_that_are_not_drawn_again_follow_from_their_counts(finished, tmp_path):
    assert path_differences(finished, Store(finished.run_folder), finished.indices) == []
    index = finished.indices[1]
    lies = [("ends", {"cells": []}), ("class", {"prediction": 11}), ("form", {"low": 1.0})]
    lies += [("terms", {"asked": [-1.0, 1.0]}), ("terms", {"unrounded": False})]
    for flag, lie in lies:
        store = restated(finished, tmp_path, index, lambda stated, lie=lie: stated["rotation"].update(lie))
        assert (f"another {flag}", "path_rotation") in {
            (it.stated, it.column) for it in path_differences(finished, store, [index])
        }
    store = restated(finished, tmp_path, index, lambda stated: stated.update(snow=stated["rotation"]))
    assert any((it.column, it.input) == ("path_snow", index) for it in examined(finished, store)[1])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("certify.paths={snow: 3}", "certify.paths=snow: it is none of"),
        ("certify.paths={rotation: -3}", r"certify.paths.rotation=-3.0: a positive severity"),
        ("certify.paths={blur: [-1, 1]}", "no negative severities"),
        ("certify.paths={rotation: [1, 2]}", "low <= 0 <= high"),
        ("certify.paths={red_cast: 0.1}", r"certify.paths.red_cast=0.1: red_cast needs images \[3"),
        ("certify.paths={rotation+jpeg_blocks: [1, 1]}", "jpeg_blocks cannot be applied second"),
        ("certify.paths={rotation+brightness: 1}", "a positive severity for each"),
        (
            "certify.paths={rotation: 1} certify.path_unrounded=false certify.rounding=null",
            "certify.path_unrounded=False: images are not rounded: certify.rounding=1/255, or their step",
        ),
        ("train.augment={snow: 3}", "train.augment=snow"),
        ("train.augment={red_cast: 0.3}", "train.augment: red_cast needs images"),
        ("train.augment={rotation: 0}", "train.augment.rotation=0"),
    ],
)
def test_what_makes_no_sense_is_one_error_before_any_work(override, message):
    with pytest.raises(SettingsError, match=message):
        prepare(settings("data=digits", *re.split(" (?=certify)", override)))


def test_paths_of_rounded_images_alone_are_told_and_audited(finished, capsys):
    """The network of the other paths: what is certified of all images is of the rounded ones, with fewer samples."""
    asked = (*SMALL, "certify.path_unrounded=false", "certify.paths={rotation: 5}")
    prepared = prepare(settings(f"output_root={finished.settings.root}", *asked))
    run(prepared)
    assert "rotation, rounded alone" in capsys.readouterr().out
    records, before = (pd.read_parquet(it.run_folder / "records.parquet") for it in (prepared, finished))
    assert not records["path_rotation_unrounded"].to_numpy().any() and "path_rotation_unrounded" not in before
    assert (records["path_rotation_high"] >= before["path_rotation_high"]).to_numpy().all()
    audit(prepare(settings(f"output_root={finished.settings.root}", *asked)))
    store, index = Store(prepared.run_folder), prepared.indices[0]
    assert not store.path_certificate(index, "rotation", prepared.paths["rotation"]).unrounded
    assert '"unrounded": false' in (prepared.run_folder / "summary.json").read_text()


def test_what_is_asked_of_paths_and_training_is_part_of_the_keys(tmp_path):
    def folders(*overrides):
        found = prepare(settings(f"output_root={tmp_path}", "data=digits", *overrides))
        return found.run_folder.name, found.classifier_folder.name

    plain, asked, trained = folders(), folders("certify.paths={rotation: 5}"), folders("train.augment={rotation: 5}")
    assert plain[0] != asked[0] and plain[1] == asked[1] and plain[1] != trained[1]
    clamped = folders("train.augment={rotation: 5}", "certify.clamp=null")
    assert clamped[1] != trained[1] and folders("certify.clamp=null")[1] == plain[1]
    assert np.unique([plain[0], asked[0], trained[0]]).size == 3


def test_what_is_aimed_at_is_what_its_perturbations_do_along_the_paths_that_are_asked_for(tmp_path):
    def prepared(*overrides):
        return prepare(settings(f"output_root={tmp_path}", "data=digits", "train=covariance", *overrides))

    aimed, other = "threat={rotation: 1}", "certify.paths={blur: 1}"
    found = prepared(aimed, "certify.paths={rotation: 5, shift+shift_down: [1, 1]}")
    (way,) = found.threat.along
    assert [it.name for it in way.perturbations] == ["rotation"] and (way.low, way.high) == ((-5.0,), (5.0,))
    assert found.classifier_folder != prepared(aimed).classifier_folder == prepared(aimed, other).classifier_folder
