"""Benchmarks at a tiny size: they run, and write what they say."""

import pandas as pd
import pytest
import torch

import rddrs
from benchmarks import history, measured, paths


def test_paths(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--data", "digits", "--inputs", "2", "--limit", "0.5", "--epochs", "4", "--samples", "1000"]
    options += ["--rounding", "1/16", "--sigma", "0.25", "--weights", f"{tmp_path}/weights.safetensors"]
    table = paths.main([*options, "--write", f"{tmp_path}/paths.csv"])
    assert len(table) == 2 and all(count > 0 for count in table["anchors"].tolist())
    assert "an input" in capsys.readouterr().out
    again = pd.read_csv(tmp_path / "paths.csv")
    assert again["samples"].tolist() == table["samples"].tolist()
    (tmp_path / "paths.csv").write_text("\n".join((tmp_path / "paths.csv").read_text().splitlines()[:2]) + "\n")
    beside = ["--beside", f"{tmp_path}/paths.csv"]
    resumed = paths.main([*options, "--write", f"{tmp_path}/paths.csv", *beside])
    assert resumed["seconds"][0] == table["seconds"][0]
    assert table["certified"].any() and "\n1 times the samples" in capsys.readouterr().out
    assert resumed.drop(columns="seconds").equals(table.drop(columns="seconds"))
    with pytest.raises(SystemExit, match=r"rows of other arguments \(limit\)"):
        paths.main([*options, "--write", f"{tmp_path}/paths.csv", "--limit", "4"])
    grown = ["--threat", "brightness", "--rounds", "1", "--last-epochs", "1", "--keep", "0.8"]
    grown += ["--perturbation", "rotation+brightness", "--limit", "1", "0.02", "--write", f"{tmp_path}/box.csv"]
    box = paths.main([*options, *grown])
    scale = rddrs.load_scale(tmp_path / "box.csv.rounds" / "scale.safetensors")
    constant = torch.ones(1, 64) / 8
    assert scale.whiten(constant).norm().item() < 0.5 / 0.25  # long in brightness
    given = ["--weights", f"{tmp_path}/box.csv.rounds/weights.safetensors", "--write", f"{tmp_path}/again.csv"]
    given += ["--scale", f"{tmp_path}/box.csv.rounds/scale.safetensors", *grown[8:13]]
    assert paths.main([*options, *given])["samples"].equals(box["samples"])


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
