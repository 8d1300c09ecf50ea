"""Benchmarks at a tiny size: they run, and write what they say."""

import pandas as pd

from benchmarks import paths


def test_paths(tmp_path, capsys):
    options = ["--data", "digits", "--inputs", "2", "--limit", "3", "--epochs", "1", "--samples", "200"]
    options += ["--rounding", "1/16", "--sigma", "0.25", "--weights", f"{tmp_path}/weights.safetensors"]
    table = paths.main([*options, "--write", f"{tmp_path}/paths.csv"])
    assert len(table) == 2 and all(count > 0 for count in table["anchors"].tolist())
    assert "an input" in capsys.readouterr().out
    again = pd.read_csv(tmp_path / "paths.csv")
    assert again["samples"].tolist() == table["samples"].tolist()
    repeated = paths.main([*options, "--write", f"{tmp_path}/again.csv"])
    assert repeated.drop(columns="seconds").equals(table.drop(columns="seconds"))
