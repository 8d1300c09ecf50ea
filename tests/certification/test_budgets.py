"""The limits of a path's geometry: a box beyond them is given up, a walk that comes to its end never meets them."""

import math
from typing import cast

import pytest
import torch

from rddrs import Isotropic, certify_path
from rddrs.certification import trees
from rddrs.certification.budgets import MOST_CELLS, PLACES, budget_of, levels_of, most_cells, samples_of_box
from rddrs.certification.cells import Course, needed
from rddrs.certification.paths import feared
from rddrs.certification.trees import Tree
from rddrs.certification.walks import Walk
from rddrs.smoothing import SmoothedClassifier, least


@pytest.fixture
def looked_at(monkeypatch):
    """How many cells were looked at, batch by batch; more than 2,000 are an error."""
    counts = []

    def counted(course, ruler, low, high, *rest):
        counts.append(len(low))
        assert sum(counts) <= 2000
        return needed(course, ruler, low, high, *rest)

    monkeypatch.setattr(trees, "needed", counted)
    return counts


@pytest.fixture
def certain(linear):
    """One class everywhere, an image, and their tree under a noise level."""
    x = (2 * torch.rand(1, 6, 6, generator=torch.Generator().manual_seed(0)) - 0.5).clamp(0, 1)

    def made(name, sigma, *ends, rounding=None, grid=None):
        scale, low = Isotropic(sigma, 36), tuple(-end for end in ends)
        tree = Tree(Course(feared(name), x, (0.0, 1.0), rounding), low, ends, x, scale, "l2", 0.0, rounding, grid)
        return SmoothedClassifier(linear(torch.zeros(36), 9.0), scale), x, tree

    return made


def test_a_box_that_its_budget_cannot_pay_is_given_up_before_it_is_walked(certain, looked_at):
    smoothed, x, _ = certain("shift+shift_down", 0.01, 3.0, 3.0)
    path = certify_path(smoothed, x, "shift+shift_down", (-3, -3), (3, 3))
    assert (path.status, path.prediction, path.low, path.high, path.cells) == ("cells", -1, (0, 0), (0, 0), ())
    assert path.samples == 100 and path.needed > path.budget and len(looked_at) > 5
    assert f"needs more cells than {path.budget} samples can certify: about {path.needed} at least" in repr(path)


@pytest.mark.parametrize(
    ("name", "ends", "rounding"),
    [
        ("rotation+scale", (6.0, 0.05), None),
        ("contrast+brightness", (0.3, 0.2), 1 / 64),
        ("shift+shift_down", (0.25, 0.2), None),
    ],
)
def test_what_a_box_takes_is_known_before_it_is_walked(certain, looked_at, name, ends, rounding):
    """Where every draw is right: within a fifth, from a few places and fewer cells than the walk looks at."""
    smoothed, x, tree = certain(name, 0.1, *ends, rounding=rounding)
    low, high = tree.low, tree.high
    foreseen, cells = samples_of_box(tree, levels_of(tree, 1e-3, True)), sum(looked_at)
    path = certify_path(smoothed, x, name, low, high, rounding=rounding)
    assert path.complete and path.needed == 0 and len(path.cells) > 10
    assert math.isclose(foreseen, path.samples - 100, rel_tol=0.2)
    assert cells <= 24 * len(PLACES)
    # What `most_cells` rests on: a walk that comes to its end has a whole tree, and every leaf is paid for.
    assert sum(looked_at) - 2 * cells <= 2 * len(path.cells)
    cheapest = least(0.5, levels_of(tree, 1e-3, True)(1, 0))
    assert all(cell.samples >= cheapest for cell in path.cells)


def test_a_box_that_cannot_be_proven_at_any_price_ends_where_it_is_walked(certain, looked_at):
    """Rounding takes more than every radius wherever light moves the ground: no cell is asked about."""
    smoothed, x, tree = certain("rotation+brightness", 0.02, 20.0, 0.5, rounding=1 / 16)
    assert samples_of_box(tree, levels_of(tree, 1e-3, True)) == 0
    path = certify_path(smoothed, x, "rotation+brightness", (-20, -0.5), (20, 0.5), rounding=1 / 16)
    assert (path.status, path.prediction, path.samples) == ("unproven", -1, 100) and sum(looked_at) < 1000


def test_a_budget_that_is_not_said_is_of_no_more_than_so_many_cells_of_a_box(certain):
    budgets = []
    for sigma in (0.1, 0.004):
        _, _, tree = certain("contrast+brightness", sigma, 0.5, 0.5)
        budgets.append((tree.expected, budget_of(tree, levels_of(tree, 1e-3, True), 1000)))
    assert budgets[0][0] < MOST_CELLS < budgets[1][0] / 4
    assert budgets[0][1] < budgets[1][1] < 10_000 + 4 * MOST_CELLS * 150


def test_a_walk_looks_at_no_more_cells_than_it_may(certain, looked_at):
    """Whatever is proven: it then ends with what is certified until there, on either side."""
    for name, proven in (("rotation", True), ("rotation", False), ("contrast+brightness", True)):
        ends = (50.0, 0.5)[: len(feared(name))]
        _, _, tree = certain(name, 0.02, *ends)
        for most in (1, 200):
            looked_at.clear()
            walk = Walk(tree, most)
            while nodes := walk.ready(4):
                walk.tell([proven] * len(nodes))
            low, high = walk.ends
            assert sum(looked_at) <= most and walk.exhausted == (proven or most == 1)
            assert -1 < low[0] / ends[0] <= 0 <= high[0] / ends[0] < 1
            assert high[0] > 0 or not proven or most == 1 or len(ends) == 2


def test_the_limit_of_a_walk_follows_its_budget(certain, looked_at, monkeypatch):
    """A path of one perturbation keeps what is certified until then, and says why it ends."""
    smoothed, x, tree = certain("rotation", 0.02, 20.0)
    for regions in (True, False):
        levels = levels_of(tree, 1e-3, regions)
        assert most_cells(tree, 10_000, levels) == 2 * (10_000 // least(0.5, levels(1, 0))) + 1024
    whole = certify_path(smoothed, x, "rotation", -20.0, 20.0)
    monkeypatch.setattr("rddrs.certification.paths.most_cells", lambda *_: 150)
    part = certify_path(smoothed, x, "rotation", -20.0, 20.0)
    low, high = cast(tuple[float, float], (part.low, part.high))
    assert whole.complete and part.status == "cells" and -20 < low < 0 < high < 20
    assert part.cells == whole.cells[: len(part.cells)] and "it needs more cells than" in repr(part)


def test_rounding_that_takes_more_than_a_short_cell_leaves_longer_ones(certain):
    """Where rounding takes 1.5 of a radius, half of it from the middle, cells of less than 0.7 cannot be had."""
    smoothed, x, tree = certain("rotation", 0.125, 10.0, rounding=1 / 16)
    assert 0.7 < tree.base <= 0.75 and tree.base + 0.4 < tree.longest < 1.5
    assert 1.4 < certain("rotation", 0.125, 10.0, rounding=1 / 16, grid=1 / 16)[2].base <= 1.5
    path = certify_path(smoothed, x, "rotation", -10.0, 10.0, rounding=1 / 16)
    assert path.complete and path.samples < path.budget / 2
