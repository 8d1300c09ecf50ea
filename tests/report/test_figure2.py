"""The paper's figure: verdicts against SciPy's, the share of a ball in closed form, curves that say what they are."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_hex
from scipy.stats import ttest_rel

from rddrs import Diagonal, Isotropic
from rddrs.report import Run, paper_figure, verdicts
from rddrs.report.figure2 import VACUOUS, inside


def made(method, radii, fidelity=1.0, sigma=0.12, first=0, scale=None):
    records = pd.DataFrame({"index": range(first, first + len(radii)), "radius": 1.0, "ball_radius": 0.1})
    records = records.assign(proxy_radius=radii, correct=True, fidelity=fidelity)
    x = torch.zeros(2)
    return Run(method, method, sigma, records, lambda index: (x, scale or Isotropic(sigma, 2)), label=method)


def drawn(mean, count=40, seed=0):
    return np.abs(np.random.default_rng(seed).normal(mean, 1.0, count))


def test_a_verdict_is_that_of_a_paired_interval_over_the_inputs_that_both_have():
    runs = {"rs": made("rs", drawn(0.4)), "ddrs": made("ddrs", drawn(3.0, 30, 1), first=20)}
    (row,) = verdicts(runs)
    first, second = (runs[name].records["proxy_radius"].to_numpy() for name in ("rs", "ddrs"))
    interval = ttest_rel(second[:20], first[20:]).confidence_interval()
    assert (row["claim"], row["inputs"], row["verdict"]) == ("ACR: rs < ddrs", 20, "holds")
    assert (row["low"], row["high"]) == pytest.approx(tuple(interval))


@pytest.mark.parametrize(("ancer", "own", "far", "near"), [(2, 6, "holds", "open"), (6, 2, "fails", "holds")])
def test_what_is_said_of_large_and_of_small_radii(ancer, own, far, near):
    """A curve that is below at small radii only is both: above beyond 3, below up to 0.5."""
    small = np.where(np.arange(40) < 25, 0.1, own) if own < ancer else drawn(own, seed=4)
    runs = {"ancer": made("ancer", drawn(ancer) + 0.5), "rddrs": made("rddrs", small + 0.5 * (own > ancer), 0.8)}
    rows = {row["claim"]: row for row in verdicts(runs, "rddrs")}
    beyond, within = (next(row for claim, row in rows.items() if sign in claim) for sign in ("R >", "R <="))
    assert (beyond["verdict"], within["verdict"]) == (far, near)
    assert beyond["vacuous"] == "rddrs"


def test_wrong_answers_have_no_radius_and_one_input_decides_nothing():
    runs = {"rs": made("rs", [0.4, 0.5, 0.6]), "ddrs": made("ddrs", [9.0, 9.1, 9.2])}
    runs["ddrs"].records["correct"] = False
    assert [row["verdict"] for row in verdicts(runs)] == ["fails"]
    assert [row["verdict"] for row in verdicts({"rs": made("rs", [0.4]), "ddrs": made("ddrs", [9.0])})] == ["open"]
    assert verdicts({"rs": made("rs", [0.4]), "ddrs": made("ddrs", [9.0], first=5)}) == []


def test_the_same_difference_of_two_inputs_has_no_interval():
    """As where all samples answer alike: every radius is the largest that there is."""
    (row,) = verdicts({"rs": made("rs", [1.9, 1.9]), "ddrs": made("ddrs", [3.2, 3.2])})
    assert row["verdict"] == "open" and np.isnan(row["low"])


def test_the_share_of_a_ball_inside_a_region():
    """Of an ellipse with the axes 1 and 3 (rho 1): all up to 1, 3 / R^2 beyond 3; false alarm below 1e-5."""
    run = made("ancer", np.ones(200), scale=Diagonal(torch.tensor([1.0, 3.0])))
    reaches = np.concatenate([inside(run, index) for index in range(200)])
    assert reaches.min() >= 1 - 1e-6
    for radius in (3.0, 4.0, 6.0):
        share = 3 / radius**2
        assert (reaches >= radius).mean() == pytest.approx(share, abs=5 * math.sqrt(share / len(reaches)))
    run.records.loc[0, "correct"] = False
    assert (inside(run, 0) < 0).all()


def test_a_curve_of_low_fidelity_is_grey_and_few_inputs_are_named():
    runs = [made("rs", drawn(0.4)), made("ancer", drawn(4.0), 0.95), made("rddrs", drawn(9.0, 10), 0.61)]
    figure = paper_figure([*runs, *(made(run.method, run.records["proxy_radius"], sigma=0.5) for run in runs)])
    proxy, _, ball, *_ = figure.axes
    legend = ball.get_legend()
    assert legend is not None and [text.get_text() for text in legend.get_texts()] == [
        *("rs (1.00)", "ancer (0.95)", "rddrs (0.61, 10 inputs)"),
    ]
    colors = [to_hex(line.get_color()) for line in proxy.lines]
    assert (colors[2] == VACUOUS["color"]) and VACUOUS["color"] not in colors[:2]
    for line, run in zip(proxy.lines, runs, strict=True):
        ends = np.asarray(line.get_xdata(), dtype=float)
        assert ends.max() == run.records["proxy_radius"].max()
    assert ball.get_xlim()[1] >= 0.1
    assert [axes.get_title(loc="left") for axes in figure.axes[:2]] == [r"$\sigma$ = 0.12", r"$\sigma$ = 0.5"]
