"""The curves of MLflow: those of the records, and no more of them for ten thousand inputs than for a few hundred."""

import numpy as np
import pandas as pd
import pytest

from rddrs.report import SHOWN, curves_of


@pytest.mark.parametrize("inputs", [1, 150, 10_000])
@pytest.mark.parametrize("largest", [0.0, 0.8, 4000.0])
def test_curves_are_those_of_the_records_and_few(inputs: int, largest: float) -> None:
    draw = np.random.default_rng(inputs)
    radius = largest * draw.random(inputs)
    records = pd.DataFrame({"index": 7 * np.arange(inputs), "correct": draw.random(inputs) < 0.7, "fidelity": 0.9})
    records = records.assign(radius=2 * radius, proxy_radius=radius, ball_radius=radius / 2)
    curves = curves_of(records)
    kinds = {f"certified_accuracy_at/{kind}": f"{kind}_radius" for kind in ("ball", "proxy")}
    assert {*curves} == {*kinds} | {f"input/{name}" for name in ("radius", "proxy_radius", "ball_radius", "fidelity")}
    assert sum(map(len, curves.values())) <= 4 * SHOWN + 2 * (SHOWN + 2)
    for name, curve in curves.items():
        for step, value in curve.items():
            if name in kinds:
                assert value == np.mean(records["correct"] & (records[kinds[name]] >= step / 100))
            else:
                assert value == records.loc[records["index"] == step, name.removeprefix("input/")].item()
    assert curves["certified_accuracy_at/proxy"][0] == records["correct"].mean()
    assert max(curves["certified_accuracy_at/proxy"]) >= 100 * radius.max()
    assert len(curves["input/radius"]) == min(SHOWN, inputs)
