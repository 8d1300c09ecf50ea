"""The audit of a path: an honest one passes, every planted lie is caught."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from rddrs import Isotropic, audit_path, certify_path
from rddrs.certification import Cell, PathTerms
from rddrs.smoothing import SmoothedClassifier
from rddrs.trust.paths import contradicted


@pytest.fixture(scope="module")
def honest():
    """A rotation of 40 degrees that ends below 0: rather few draws a test, so that some cells are not proven."""
    x = torch.rand(1, 5, 5, generator=torch.Generator().manual_seed(3))
    weight = torch.linspace(-1, 1, 25).view(5, 5).T.flatten()

    def classifier(inputs):
        answer = 2 * (inputs - 0.5).flatten(1) @ weight + 0.2
        return torch.stack([torch.zeros_like(answer), answer], dim=1)

    smoothed = SmoothedClassifier(classifier, Isotropic(0.15, 25), grid=1 / 64)
    options: dict[str, Any] = {"slack": 0.15, "rounding": 1 / 64, "samples": 300, "budget": 20_000, "seed": 2}
    return smoothed, x, certify_path(smoothed, x, "rotation", -40, 5, index=4, **options)


def audited(smoothed, path, x, **options):
    return audit_path(smoothed, path, x, samples=2000, **options)


def changed(path, place, **values):
    cells = list(path.cells)
    cells[place] = replace(cells[place], **values)
    return replace(path, cells=tuple(cells))


def test_an_honest_path_passes(honest):
    smoothed, x, path = honest
    assert path.prediction == 1 and -40 < path.low < 0 < path.high and path.status == "unproven"
    assert not path.complete and {cell.decision for cell in path.cells} == {"yes", "no", "undecided"}
    terms = PathTerms("rotation", -40.0, 5.0, slack=0.15, rounding=1 / 64, samples=300, budget=20_000, seed=2)
    found = audited(smoothed, path, x, index=4, terms=terms)
    assert found.flags == () and found.count_differences == 0
    assert found.attack is not None and path.low <= found.attack.severity[0] <= path.high
    assert audited(smoothed, path, x, tolerance=3).flags == ()
    assert terms.certify(smoothed, x, index=4).cells == path.cells


def test_the_budget_of_an_earlier_version_is_believed(honest):
    """Where none is given it follows from the radii of its cells of rounded images, which were others."""
    smoothed, x, path = honest
    terms = replace(PathTerms.of(path), budget=None)
    assert audit_path(smoothed, replace(path, rules=2), x, terms=terms, samples=100).flags == ()


def first(path, decision):
    return next(place for place, cell in enumerate(path.cells) if cell.decision == decision)


def lost(path):
    """The cells without one that is proven, the others numbered anew."""
    kept = [cell for place, cell in enumerate(path.cells) if place != first(path, "yes")]
    return replace(path, cells=tuple(replace(cell, order=k) for k, cell in enumerate(kept, 1)))


def invented(path):
    """One more cell, proven, beyond the end."""
    end = path.low
    made = Cell((end - 3,), (end,), 2.0, 1e-9, len(path.cells) + 1, path.cells[-1].wave + 1, (0, 300), 300, "yes")
    return replace(path, cells=(*path.cells, made), low=end - 3)


LIES = {
    "an end further out": ("ends", lambda it: replace(it, low=1.3 * it.low)),
    "all that was asked": ("ends", lambda it: replace(it, low=-40.0, high=5.0)),
    "another class": ("class", lambda it: replace(it, prediction=0)),
    "a cell that is missing": ("ends", lost),
    "a cell that was not asked about": ("counts", invented),
    "a cell that is wider": ("radius", lambda it: changed(it, 0, low=(it.cells[0].low[0] - 1,))),
    "a smaller radius": ("radius", lambda it: changed(it, 0, rho=0.5 * it.cells[0].rho)),
    "a decision": ("decision", lambda it: changed(it, first(it, "undecided"), decision="yes")),
    "one count of another class": ("counts", lambda it: changed(it, 0, counts=(1, it.cells[0].samples - 1))),
    "counts of an undecided cell": (
        "counts",
        lambda it: changed(it, place := first(it, "undecided"), counts=(0, it.cells[place].samples), decision="yes"),
    ),
    "a larger share of alpha": ("level", lambda it: changed(it, -1, alpha=it.alpha)),
    "the order of two": (
        "order",
        lambda it: replace(it, cells=(it.cells[1], it.cells[0], *it.cells[2:])),
    ),
    "a number": ("order", lambda it: changed(it, -1, order=1)),
    "selection counts": ("counts", lambda it: replace(it, selection_counts=(2, 98))),
    "more draws": ("order", lambda it: changed(it, 0, samples=500)),
    "less that it might take": ("order", lambda it: replace(it, budget=it.samples - 1)),
    "another reason to end": ("walk", lambda it: replace(it, status="budget")),
    "another slack": ("walk", lambda it: replace(it, slack=0.16)),
    "another seed": ("counts", lambda it: replace(it, seed=5)),
    "no rounding": ("walk", lambda it: replace(it, rounding=None)),
    "no rules": ("form", lambda it: replace(it, rules=4)),
    "rounded images alone": ("walk", lambda it: replace(it, unrounded=False)),
    "another clamp": ("walk", lambda it: replace(it, clamp=(0.2, 0.8))),
    "an abstention with ends": ("ends", lambda it: replace(it, prediction=-1)),
}


@pytest.mark.parametrize(("flag", "lie"), LIES.values(), ids=LIES)
def test_a_planted_lie_is_caught(honest, flag, lie):
    smoothed, x, path = honest
    assert flag in audited(smoothed, lie(path), x).flags


IMPOSSIBLE = {
    "rho": (50.0, math.nan, math.inf, -1.0),
    "alpha": (0.0, 2.0, math.nan),
    "order": (0, -5, 1 << 24),
    "samples": (0, -3),
    "counts": ((0, 301), (400, -200)),
    "low": ((0.0, 0.0), (math.nan,), (), (41.0,)),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_numbers_that_no_path_has_are_one_flag(honest, name):
    smoothed, x, path = honest
    for value in IMPOSSIBLE[name]:
        lie = changed(path, 0, **{name: value})
        assert audited(smoothed, lie, x).flags == ("form",) and contradicted(lie, PathTerms.of(path)) == ["form"]


def test_impossible_ends_and_classes_are_one_flag_and_no_cells_cover_nothing(honest):
    smoothed, x, path = honest
    lies: list[dict[str, Any]] = [{"low": math.nan}, {"high": (1.0, 2.0)}, {"prediction": -7}, {"batch": 0}]
    lies += [{"budget": 0}, {"low": 1.0, "high": 0.5}, {"low": 1.0}, {"high": -1.0}, {"asked": (-40.0, -5.0)}]
    lies += [{"alpha": 2.0}, {"slack": math.nan}, {"rounding": -1 / 64}, {"clamp": (1.0, 0.0)}]
    for lie in lies:
        assert audited(smoothed, replace(path, **lie), x).flags == ("form",)
    assert "ends" in audited(smoothed, replace(path, cells=()), x).flags


def test_where_the_walk_is_not_repeated_ends_and_terms_are_still_looked_at(honest):
    smoothed, x, path = honest
    nothing = replace(path, cells=(), low=0.0, high=0.0)
    assert audited(smoothed, nothing, x, tolerance=3).flags == ("ends",)
    lie = replace(path, status="complete", grid=None)
    assert audited(smoothed, lie, x, tolerance=3).flags == ("terms", "ends")


def test_terms_and_inputs_of_others_are_caught(honest):
    smoothed, x, path = honest
    asked: dict[str, Any] = {"slack": 0.15, "rounding": 1 / 64, "samples": 300, "budget": 20_000, "seed": 2}
    others: list[dict[str, Any]] = [{"slack": 0.1}, {"alpha": 1e-4}, {"low": -45.0}, {"perturbation": "shift"}]
    for other in (*others, {"seed": 3}, {"budget": 99}):
        terms = PathTerms(**{"perturbation": "rotation", "low": -40.0, "high": 5.0, **asked, **other})
        assert "terms" in audited(smoothed, path, x, terms=terms, tolerance=10**9).flags
    assert "input" in audited(smoothed, path, x, index=5).flags
    assert "input" in audited(smoothed, path, x + 1 / 64).flags
    wider = SmoothedClassifier(smoothed.classifier, Isotropic(0.16, 25), grid=1 / 64)
    assert "terms" in audited(wider, path, x).flags


def test_a_classifier_that_is_another_one_is_caught_by_counts_and_attack(honest):
    smoothed, x, path = honest
    other = SmoothedClassifier(lambda inputs: -smoothed.classifier(inputs), smoothed.scale, grid=smoothed.grid)
    flags = audited(other, path, x).flags
    assert {"class", "counts", "attack"} <= {*flags}


def test_a_box_that_was_given_up_passes_and_is_given_up_for_that_alone(linear):
    smoothed = SmoothedClassifier(linear(torch.ones(9), -1.0), Isotropic(0.02, 9))
    x = torch.rand(1, 3, 3, generator=torch.Generator().manual_seed(0))
    terms = PathTerms("shift+shift_down", (-2.0, -2.0), (2.0, 2.0), samples=1000, budget=20_000)
    path = terms.certify(smoothed, x)
    assert path.status == "cells" and path.prediction == -1
    assert audited(smoothed, path, x, terms=terms).flags == ()
    lie = replace(path, status="budget", needed=path.needed - 1)
    assert audited(smoothed, lie, x, terms=terms).flags == ("walk",)
    assert audited(smoothed, replace(path, needed=-1), x, terms=terms).flags == ("form",)
    alone = PathTerms("blur", 0.0, 0.3, samples=1000, budget=101).certify(smoothed, x)
    assert alone.cells == () and audited(smoothed, alone, x).flags == () and not alone.contains(x[None]).any()
    near = PathTerms("shift+shift_down", (-0.01, -0.01), (0.01, 0.01), samples=1000).certify(smoothed, x)
    lie = replace(near, status="cells", prediction=-1, low=(0.0, 0.0), high=(0.0, 0.0), cells=())
    assert near.complete and audited(smoothed, lie, x).flags == ("walk",)


def test_a_box_passes_and_a_gap_in_it_is_caught(linear):
    smoothed = SmoothedClassifier(linear(torch.ones(9), -1.0), Isotropic(0.3, 9))
    x = torch.rand(1, 3, 3, generator=torch.Generator().manual_seed(0))
    path = certify_path(smoothed, x, "brightness+contrast", (-0.3, -0.3), (0.3, 0.3), samples=1000)
    assert path.complete and len(path.cells) >= 5
    terms = PathTerms("brightness+contrast", (-0.3, -0.3), (0.3, 0.3), samples=1000)  # the budget is found again
    assert audited(smoothed, path, x, terms=terms).flags == ()
    assert "ends" in audited(smoothed, lost(path), x).flags
    flat = replace(path, cells=(), low=(-0.3, 0.0), high=(0.3, 0.0))
    assert "ends" in audited(smoothed, flat, x, tolerance=3).flags
