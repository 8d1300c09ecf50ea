"""What a report says of a threat."""

import io

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console
from scipy.stats import binomtest

from rddrs.report import contact_sheet, severity_metrics, threat_summary, threat_table
from rddrs.threats import PERTURBATIONS


@pytest.fixture
def records() -> pd.DataFrame:
    correct = [True] * 7 + [False]
    return pd.DataFrame({"correct": correct, "severity_brightness": np.arange(8) / 10, "severity_mine": [0.2] * 8})


def test_severities_stand_beside_those_of_isotropic_noise(records):
    base = records.assign(severity_brightness=0.1)
    found = threat_summary(records, base, {"brightness": 0.4}).set_index("perturbation")
    assert found.loc["brightness", "severity"] == pytest.approx(2.1 / 8)
    assert found.loc["brightness", "ratio"] == pytest.approx(3.0)
    assert found.loc["mine", "unit"] == ""
    share, low, high = found.loc["brightness", ["share", "low", "high"]].tolist()
    exact = binomtest(3, 8).proportion_ci(0.95, "exact")
    assert (share, low, high) == pytest.approx((3 / 8, exact.low, exact.high))
    assert np.isnan(found.loc["mine", "share"])
    metrics = severity_metrics(found.reset_index())
    assert metrics["severity_rs/brightness"] == pytest.approx(0.7 / 8)
    assert metrics["certified_at/brightness"] == 3 / 8
    assert "certified_at/mine" not in metrics


def test_the_table_tells_what_was_asked(records):
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(threat_table(threat_summary(records, records, {"brightness": 0.4}), ["brightness"]))
    console.print(threat_table(threat_summary(records, None)))
    text = console.export_text()
    assert "0.375 (0.085 to 0.756)" in text
    assert "1.00" in text and text.count("amplitude") == 2


@pytest.mark.parametrize("channels", [1, 3])
def test_a_contact_sheet_shows_every_perturbation_at_four_severities(channels):
    chosen = [it for it in PERTURBATIONS if it.name in ("brightness", "blur")]
    x = torch.rand(channels, 8, 8, generator=torch.Generator().manual_seed(0))
    figure = contact_sheet(x, {"brightness": 0.5, "blur": 1.0}, chosen)
    shown = [[axis.images[0].get_array() for axis in figure.axes[row : row + 4]] for row in (0, 4)]
    bright = np.array([np.asarray(each).mean() for each in shown[0]])
    assert np.diff(bright) == pytest.approx(np.array([1, 1, 2]) * (bright[1] - bright[0]))
    assert [axis.get_title().split("\n")[-1] for axis in figure.axes[:4]] == ["0.000", "0.250", "0.500", "1.000"]


def test_an_input_that_is_no_picture_has_no_contact_sheet():
    with pytest.raises(ValueError, match="is no picture"):
        contact_sheet(torch.zeros(4), {"brightness": 1.0}, PERTURBATIONS[3:4])
