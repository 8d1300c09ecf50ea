"""The matrix of params.yaml: real DVC on a small one, and the errors of a wrong one."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from pipelines.errors import SettingsError
from pipelines.matrix import read_matrix

ROOT = Path(__file__).parents[2]
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())
SMALL = {"methods": ["rs", "ddrs"], "sigmas": [0.5], "subset": 3, "samples": 2000, "overrides": ["train.epochs=2"]}


def test_every_run_of_the_matrix_composes() -> None:
    matrix = read_matrix(ROOT / "params.yaml")
    for sigma in matrix.sigmas:
        for method in matrix.methods:
            settings = matrix.settings(sigma, method)
            assert (settings.sigma, settings.method.name, settings.data.name) == (sigma, method, matrix.data)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"sigmas": [0.5, -1.0]}, r"sigmas.1=-1.0: Input should be greater than 0"),
        ({"sigmas": []}, "sigmas=.*at least 1 item"),
        ({"sigma": 0.5}, "sigma: there is no such key"),
        ({"subset": 0}, "subset=0"),
    ],
)
def test_a_wrong_matrix_is_one_clear_error(wrong: dict, named: str, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(PARAMS | wrong))
    with pytest.raises(SettingsError, match=named):
        read_matrix(tmp_path / "params.yaml")


def test_dvc_runs_the_matrix_once(commands: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("dvc") is None:
        pytest.skip("no DVC in this environment: pip install -c constraints.txt -e '.[dvc]'")
    for name in ("conf", "pipelines", "rddrs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore", ".gitignore", ".dvc/config", ".dvc/.gitignore"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(PARAMS | SMALL))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text(f'#!/bin/sh\ntest "$1" = -m && shift && exec {commands}/warm "$@"\n')
    (tmp_path / "bin" / "python").chmod(0o755)
    search = {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)

    def dvc(*arguments: str) -> str:
        command = [sys.executable, "-m", "dvc", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=os.environ | search, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    first = dvc("repro")
    assert [line.split("'")[1] for line in first.splitlines() if line.startswith("Running stage")] == [
        *("train@0.5", "certify@rs-0.5", "certify@ddrs-0.5", "compare"),
    ]
    copies = tmp_path / "outputs" / "dvc"
    assert pd.read_csv(copies / "comparison" / "comparison.csv")["method"].tolist() == ["rs", "ddrs"]
    assert (copies / "comparison" / "figures" / "certified_accuracy.png").exists()
    for method in SMALL["methods"]:
        folder = copies / "runs" / f"{method}-sigma0.5"
        run = tmp_path / "outputs" / "runs" / json.loads((folder / "manifest.json").read_text())["run"]
        assert (folder / "records.parquet").read_bytes() == (run / "records.parquet").read_bytes()
    assert len(list(tmp_path.glob("outputs/classifiers/*/weights.safetensors"))) == 1

    again = dvc("repro")
    assert "Running stage" not in again and "up to date" in again
    assert json.loads(dvc("metrics", "show", "--json"))[""]["data"].keys() == {
        f"outputs/dvc/runs/{method}-sigma0.5/summary.json" for method in SMALL["methods"]
    }
