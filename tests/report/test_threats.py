"""What a report says of a threat."""

import io

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console
from scipy.stats import binomtest

from rddrs.report import contact_sheet, measured, severity_metrics, threat_summary, threat_table
from rddrs.threats import PERTURBATIONS, Perturbation

NAMES = {it.name: it for it in PERTURBATIONS}


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
    figure = contact_sheet(x, {"brightness": 0.3, "blur": 1.0}, chosen, clamp=(0.0, 1.0), rounding=1 / 255)
    shown = [
        np.stack([np.asarray(axis.images[0].get_array()) for axis in figure.axes[row : row + 4]]) for row in (0, 4)
    ]
    first = np.moveaxis(x.numpy(), 0, -1).squeeze()
    for image, severity in zip(shown[0], (0, 0.15, 0.3, 0.6), strict=True):
        np.testing.assert_allclose(image, np.rint(np.clip(first + severity, 0, 1) * 255) / 255, atol=1e-6)
    assert [axis.get_title().split("\n")[-1] for axis in figure.axes[:4]] == ["0.000", "0.150", "0.300", "0.600"]
    assert np.ptp([image.mean() for image in shown[1]]) < 0.02, "a blur is as bright"


def test_white_is_white_and_more_brightness_is_drawn_brighter():
    """As a screen shows it, whatever else is in the row."""
    figure = contact_sheet(torch.full((1, 4, 4), 0.25), {"brightness": 0.5}, [NAMES["brightness"]])
    drawn = [axis.images[0].to_rgba(np.asarray(axis.images[0].get_array()))[0, 0, 0] for axis in figure.axes[:4]]
    assert drawn == pytest.approx([0.25, 0.5, 0.75, 1.0], abs=0.01)


def test_a_contact_sheet_says_what_is_only_tested():
    lift = Perturbation("lift", lambda x, s: x + s, 1)
    figure = contact_sheet(torch.zeros(1, 4, 4), {"lift": 0.5, "brightness": 0.5}, [lift, NAMES["brightness"]])
    assert [figure.axes[place].get_ylabel() for place in (0, 4)] == ["lift, tested\n", "brightness\namplitude"]


def test_what_is_only_tested_says_so_and_counts_just_where_it_was_asked(records):
    tested = records.assign(severity_mine_low=-0.2, severity_mine_high=0.3, severity_mine_tested=True)
    assert measured(tested) == ["brightness", "mine"]
    found = threat_summary(tested, None, {"mine": 0.1}, {"mine": [True, False] * 4}).set_index("perturbation")
    assert found["tested"].tolist() == [False, True]
    assert found.loc["mine", "share"] == 4 / 8
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(threat_table(found.reset_index()))
    assert "mine, tested" in console.export_text()


def test_an_input_that_is_no_picture_has_no_contact_sheet():
    with pytest.raises(ValueError, match="is no picture"):
        contact_sheet(torch.zeros(4), {"brightness": 1.0}, PERTURBATIONS[3:4])
