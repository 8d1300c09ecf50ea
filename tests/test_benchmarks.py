"""Benchmarks at a tiny size: they run, and write what they say."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

import rddrs
from benchmarks import device, history, intervals, measured, paths
from rddrs.data import digits


def test_paths(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--data", "digits", "--inputs", "2", "--limit", "0.5", "--epochs", "4", "--samples", "1000"]
    options += ["--rounding", "1/16", "--sigma", "0.25", "--weights", f"{tmp_path}/weights.safetensors"]
    table = paths.main([*options, "--write", f"{tmp_path}/paths.csv"])
    assert len(table) == 2 and all(count > 0 for count in table["anchors"].tolist())
    assert "an input" in capsys.readouterr().out
    assert sum(table["certified"].tolist()) and (table["smoothed"] >= table["certified"]).tolist() == [True, True]
    again = pd.read_csv(tmp_path / "paths.csv")
    assert again["samples"].tolist() == table["samples"].tolist()
    (tmp_path / "paths.csv").write_text("\n".join((tmp_path / "paths.csv").read_text().splitlines()[:2]) + "\n")
    beside = ["--beside", f"{tmp_path}/paths.csv"]
    resumed = paths.main([*options, "--write", f"{tmp_path}/paths.csv", *beside])
    assert resumed["seconds"].tolist()[0] == table["seconds"].tolist()[0]
    assert sum(table["certified"].tolist()) and "\n1 times the samples" in capsys.readouterr().out
    assert resumed.drop(columns="seconds").equals(table.drop(columns="seconds"))
    with pytest.raises(SystemExit, match=r"rows of other arguments \(limit\)"):
        paths.main([*options, "--write", f"{tmp_path}/paths.csv", "--limit", "4"])
    other = paths.main([*options, "--held-out", "--write", f"{tmp_path}/held_out.csv"])
    held_out = digits().held_out(0)
    assert other["label"].tolist() == held_out.labels[[0, len(held_out.labels) // 2]].tolist()
    grown = ["--threat", "brightness", "--rounds", "1", "--last-epochs", "1", "--keep", "0.8"]
    grown += ["--perturbation", "rotation+brightness", "--limit", "1", "0.02", "--write", f"{tmp_path}/box.csv"]
    box = paths.main([*options, *grown])
    scale = rddrs.load_scale(tmp_path / "box.csv.rounds" / "scale.safetensors")
    constant = torch.ones(1, 64) / 8
    assert scale.whiten(constant).norm().item() < 0.5 / 0.25  # long in brightness
    given = ["--weights", f"{tmp_path}/box.csv.rounds/weights.safetensors", "--write", f"{tmp_path}/again.csv"]
    given += ["--scale", f"{tmp_path}/box.csv.rounds/scale.safetensors", *grown[8:13]]
    assert paths.main([*options, *given])["samples"].equals(box["samples"])


def test_paths_of_a_run_are_under_its_noise(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = ["--run", "data=digits", "method=rs", "sigma=0.3", "train.epochs=1", f"output_root={tmp_path}"]
    paths.main(["--inputs", "1", "--perturbation", "brightness", "--limit", "0.01", "--samples", "200", *run])
    assert json.loads((tmp_path / "paths.csv.json").read_text())["noise"] == rddrs.Isotropic(0.3, 64).digest


def test_device(tmp_path, capsys, monkeypatch):
    """A section that fails reports its error, the others go on, and all are in the file."""

    def broken(options):
        raise RuntimeError("no such card")

    monkeypatch.setitem(device.SECTIONS, "contracts", broken)
    sections = ["machine", "contracts", "product", "same", "counts", "share"]
    options = ["--device", "cpu", "--small", "--rounds", "1", "--write", f"{tmp_path}/device.json"]
    found = device.main([*options, "--sections", *sections])
    assert "RuntimeError: no such card" in found["contracts"]["error"]
    assert [name for name, section in found.items() if "error" in section] == ["contracts"]
    assert found["same"]["differ"] == 0 and found["counts"]["smallest_p"] == 1  # the CPU against itself
    for name in ("lenet", "resnet20", "resnet50"):
        assert all(share > 0 for share in found["share"][name]["share"].values()), found["share"][name]
    assert json.loads((tmp_path / "device.json").read_text()).keys() == found.keys()
    assert "share: {" in capsys.readouterr().out
    late = device.main([*options, "--sections", "share", "--minutes", "0.1"])
    assert late["share"]["left_out"] == "--minutes 0.1 are over"


def test_no_interval_is_longer_than_the_exact_one(capsys):
    """50 intervals, few samples: 0 false at alpha = 1e-3 each; false alarms 0.05 if every test were on its threshold,
    in fact far fewer: cells that reach beyond the end have anchors well below theirs."""
    table = intervals.main(["--count", "50", "--samples", "40"])
    prediction, share = table["prediction"].to_numpy(), (table["end"] / table["exact"]).to_numpy()
    assert (prediction != 0).all() and (share[prediction == 1] <= 1 + 1e-5).all()
    assert (prediction == 1).sum() > 25 and np.median(share[prediction == 1]) > 0.3
    assert "0 of 50 are too long, at most 3 by luck" in capsys.readouterr().out


def test_the_history_tells_how_a_figure_moved_on_one_machine(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seconds in (2.0, 1.0, 0.5):
        measured.keep("cost", {"seconds": seconds}, ["--rounds", "5"])
    measured.keep("cost", {"seconds": 9.0}, ["--rounds", "1"])
    history.main(["cost"])
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[-3:] for line in told if line.startswith("    ")] == [
        ["9", "1.000", "1.000"],
        ["2", "1.000", "1.000"],
        ["1", "0.500", "0.500"],
        ["0.5", "0.500", "0.250"],
    ]
    assert measured.machine() in told[1] and f"  {rddrs.__version__} " in told[3]
    history.main(["large"])
    assert capsys.readouterr().out == ""
    with pytest.raises(SystemExit, match="no benchmark was run here"):
        history.main(["--file", "nowhere.jsonl"])
