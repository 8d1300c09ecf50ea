"""The table beside the published ACRs: which runs it takes, and its numbers."""

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from rddrs import Isotropic
from rddrs.report import Run, literature, literature_table


def run(name: str, *, data: str = "mnist", method: str = "rs", norm: str = "l2", objective: str = "consistency") -> Run:
    records = pd.DataFrame({"ball_radius": [1.0, 2.0, 3.0, 0.0], "correct": [True, True, False, False]})
    stated = {"data": {"name": data}, "train": {"name": objective}, "certify": {"norm": norm, "samples": 100_000}}
    return Run(name, method, 0.5, records, lambda _: (torch.zeros(2), Isotropic(0.5, 2)), yaml.safe_dump(stated), name)


def test_only_what_the_literature_measured_stands_beside_it():
    others = [run("a", data="digits"), run("b", method="ancer"), run("c", norm="l1"), run("d", objective="covariance")]
    assert literature(others).empty
    (row,) = literature([*others, run("e")]).to_dict("records")
    radii = np.array([1.0, 2.0, 0.0, 0.0])
    assert row["run"] == "e" and row["inputs"] == 4 and row["acr"] == radii.mean() and row["published"] == 1.655
    assert row["standard_error"] == pytest.approx(np.sqrt(radii.var() * 4 / 3 / 4))
    assert row["difference"] == pytest.approx(0.75 / 1.655 - 1)


def test_the_table_shows_every_run():
    table = literature_table(literature([run("one"), run("other", objective="gaussian")]))
    assert [*table.columns[0].cells] == ["consistency", "gaussian"] and [*table.columns[7].cells] == [
        "-54.7%",
        "-51.9%",
    ]
