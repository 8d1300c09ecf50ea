"""The table beside the published ACRs: which runs it takes, and its numbers."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from rddrs import Isotropic
from rddrs.report import Run, literature, literature_table


def run(
    name: str, method: str = "rs", objective: str = "consistency", sigma: float = 0.5, **other: dict[str, Any]
) -> Run:
    records = pd.DataFrame({"ball_radius": [1.0, 2.0, 3.0, 0.0], "correct": [True, True, False, False]})
    stated: dict[str, dict[str, Any]] = {
        "data": {"name": "mnist"},
        "classifier": {"checkpoint": None, "pretrained": None},
        "train": {"name": objective, "objective": {"name": objective}},
        "certify": {"norm": "l2", "samples": 100_000, "target_radius": None},
    }
    text = yaml.safe_dump({group: values | other.get(group, {}) for group, values in stated.items()})
    return Run(name, method, sigma, records, lambda _: (torch.zeros(2), Isotropic(sigma, 2)), text, name)


def test_only_what_the_literature_measured_stands_beside_it():
    others = [
        run("a", data={"name": "digits"}),
        run("b", method="ancer"),
        run("c", certify={"norm": "l1"}),
        run("d", train={"name": "covariance"}),
        run("f", classifier={"checkpoint": "own.safetensors"}),
        run("g", certify={"target_radius": 0.5}),
        run("h", sigma=0.3),
        run("j", certify={"alpha": 0.1}),
        run("i", classifier={"pretrained": "mnist-lenet-consistency-cotrained-sigma0.5"}),
    ]
    assert literature(others).empty
    (row,) = literature([*others, run("e")]).to_dict("records")
    radii = np.array([1.0, 2.0, 0.0, 0.0])
    assert row["run"] == "e" and row["inputs"] == 4 and row["acr"] == radii.mean() and row["published"] == 1.655
    assert row["standard_error"] == pytest.approx(np.sqrt(radii.var() * 4 / 3 / 4))
    assert row["difference"] == pytest.approx(0.75 / 1.655 - 1)


def test_weights_that_ship_were_trained_as_their_card_says():
    shipped = run("a", objective="gaussian", classifier={"pretrained": "mnist-small_cnn-consistency-sigma0.5"})
    assert literature([shipped])["objective"].item() == "consistency"


def test_runs_of_before_there_were_objectives_have_that_of_their_training():
    old = Run("old", "rs", 0.5, run("a").records, run("a").load, "data: {name: mnist}\nclassifier: {}\n"
              "train: {name: gaussian}\ncertify: {samples: 100000}\n", "old")  # fmt: skip
    assert literature([old])["objective"].item() == "gaussian"


def test_the_table_shows_every_run():
    """Also those of an objective that has no published figure."""
    runs = [run("one"), run("other", objective="gaussian"), run("third", objective="macer", sigma=1.0)]
    table = literature_table(literature(runs))
    assert [*table.columns[0].cells] == ["consistency", "gaussian", "macer"]
    assert [*table.columns[6].cells] == ["1.655", "1.558", "-"]
    assert [*table.columns[7].cells] == ["-54.7%", "-51.9%", "-"]
