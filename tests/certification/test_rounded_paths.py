"""Paths of images that are all rounded, as files are: what they speak of, and what of a radius they save."""

import itertools
import math
from dataclasses import replace
from typing import Any, cast

import pytest
import torch

from rddrs import Diagonal, Full, Isotropic, audit_path, certify_path
from rddrs.certification import trees
from rddrs.certification.cells import TIE, TOLERANCE, Course, Ruler, needed
from rddrs.certification.paths import feared
from rddrs.certification.trees import anchors_of, images_of, placed
from rddrs.smoothing import SmoothedClassifier

STEP = 1 / 32
LONG = Full(0.2 * torch.eye(36) + 2 * torch.ones(36, 36) / 36)
"""Ten times as long in brightness as in all else."""

ENDS = (torch.tensor([[STEP / 4]]).double(), torch.tensor([[STEP]]).double())
"""A cell of light in which what lies on the lattice is rounded to the next step."""


def picture(seed=0):
    """Black, grey and white, on the lattice of the steps."""
    x = (2 * torch.rand(1, 6, 6, generator=torch.Generator().manual_seed(seed)) - 0.5).clamp(0, 1)
    return STEP * (x / STEP).round()


@pytest.mark.parametrize("name", ["rotation", "brightness", "rotation+brightness", "contrast+brightness", "haze+scale"])
@pytest.mark.parametrize("scale", [Diagonal(torch.linspace(0.1, 0.3, 36)), LONG], ids=["diagonal", "full"])
@pytest.mark.parametrize("clamp", [None, (0.0, 1.0), (0.05, 0.9)])
def test_the_radius_holds_all_rounded_images(name, scale, clamp):
    """Of three cells each, of 1,000 images, what is nearly half-way rounded to either; nor is it longer than before.

    From the image at the middle of a cell, and from the middle of its images.
    """
    source, x = torch.Generator().manual_seed(0), picture()
    alone, both = (Course(feared(name), x, clamp, STEP, unrounded) for unrounded in (False, True))
    ruler = Ruler(scale, "l2")
    middle = torch.tensor([[0.0, 0.0], [0.1, 0.1], [-0.1, 0.2]], dtype=torch.float64)[:, : len(alone.straight)]
    widths = torch.tensor([3.0 if it.name == "rotation" else 0.15 for it in feared(name)], dtype=torch.float64) / 8
    low, high = middle - widths / 2, middle + widths / 2
    both_kinds = (images_of(alone, middle, x, STEP), anchors_of(alone, low, high, x, None))
    for anchors, place in itertools.product([each.double().flatten(1) for each in both_kinds], range(3)):
        radii, before = (needed(it, ruler, low, high, anchors, math.inf) for it in (alone, both))
        shares = torch.rand(1000, len(widths), generator=source, dtype=torch.float64)
        shares[:100] = shares[:100].round()
        images = alone.points(low[place] + shares * widths)
        nearly = TIE * images.abs().amax(dim=1, keepdim=True) * (2 * torch.rand(images.shape, generator=source) - 1)
        farthest = ruler.length(STEP * ((images + nearly) / STEP).round() - anchors[place]).max()
        assert farthest <= radii[place] <= before[place] + TOLERANCE


def test_what_is_rounded_to_the_same_all_over_a_cell_costs_nothing():
    """Turned by a thousandth of a degree no entry of this picture changes; the images before rounding are moved."""
    x, ruler = picture(3), Ruler(Isotropic(0.1, 36), "l2")
    low, high, middle = (torch.tensor([[end]], dtype=torch.float64) for end in (2.0, 2.001, 2.0005))
    radii = []
    for unrounded in (False, True):
        course = Course(feared("rotation"), x, (0.0, 1.0), STEP, unrounded)
        anchor = placed(images_of(course, middle, x, STEP)[0], None)[None]
        radii.append(needed(course, ruler, low, high, anchor, math.inf).item())
    assert radii[0] < 1e-5 and 0.3 < radii[1] < math.sqrt(36) * STEP / 2 / 0.1


def test_an_entry_that_is_nearly_half_way_may_be_rounded_to_either():
    ruler, severity = Ruler(Isotropic(1.0, 1), "l2"), torch.zeros(1, 1, dtype=torch.float64)
    for away, place, least in ((0.9, 0.5, 0.1), (0.9, 0.3, 0.3), (1.1, 0.5, 0.0), (1.1, 0.3, 0.2)):
        anchor = torch.tensor([[place]], dtype=torch.float64)
        x = torch.tensor([0.55 - away * TIE * 0.55], dtype=torch.float64)
        course = Course(feared("brightness"), x, None, 0.1, unrounded=False)
        found = needed(course, ruler, severity, severity, anchor, math.inf).item()
        assert least - 1e-15 <= found < least + 1e-6


def test_the_answer_is_right_at_every_rounded_image(linear):
    """A linear classifier whose boundary the turned picture crosses: the end is where a rounded image does, or before.

    False alarms: at most alpha = 1e-3 each, and there are three; a step is a third of sigma, so that a rounded image is
    far from the one that it was.
    """
    for seed in range(3):
        x = picture(seed)
        weight = torch.randn(36, generator=torch.Generator().manual_seed(seed))
        turned = Course(feared("rotation"), x, (0.0, 1.0))
        severities = torch.linspace(0, 30, 30_001, dtype=torch.float64)[:, None]
        images = STEP * (turned.points(severities) / STEP).round()
        margins = images @ weight.double()
        bias = -margins[:9000].min().item() + 0.6
        smoothed = SmoothedClassifier(linear(weight, bias), Isotropic(0.1, 36))
        options: dict[str, Any] = {
            "rounding": STEP,
            "unrounded": False,
            "samples": 5000,
            "budget": 40_000,
            "seed": seed,
        }
        path = certify_path(smoothed, x, "rotation", 0.0, 30.0, **options)
        wrong = severities[margins + bias <= 0]
        assert isinstance(path.high, float) and path.prediction == 1
        assert not len(wrong) or path.high < wrong.min()
        assert path.high > 8


def test_the_anchor_is_as_far_from_either_side_of_a_jump(linear):
    """Where all 36 entries are rounded to the next step at once: half a step of each is held, a whole one too far."""
    x = torch.full((1, 6, 6), 0.5)
    smoothed = SmoothedClassifier(linear(torch.zeros(36), 9.0), Isotropic(0.08, 36))
    for unrounded in (False, True):
        path = certify_path(smoothed, x, "brightness", -0.1, 0.1, rounding=STEP, unrounded=unrounded)
        jumps = [cell.rho for cell in path.cells if cell.low[0] < STEP / 2 < cell.high[0]]
        assert path.complete and max(jumps) == pytest.approx(6 * STEP / 2 / 0.08, rel=1e-3)
    assert anchors_of(Course(feared("brightness"), x, None, STEP, False), *ENDS, x, None)[0, 0, 0, 0] == 0.5 + STEP / 2
    assert anchors_of(Course(feared("brightness"), x, None, STEP, False), *ENDS, x, STEP)[0, 0, 0, 0] == 0.5


@pytest.mark.parametrize("unrounded", [False, True])
def test_paths_of_earlier_versions_have_their_anchors_at_the_middle_of_a_cell(linear, monkeypatch, unrounded):
    """They take more draws, are read as what they are, and hold; a new one holds as that alone."""
    x, smoothed = picture(), SmoothedClassifier(linear(torch.ones(36), 9.0), Isotropic(0.1, 36))
    options: dict[str, Any] = {"clamp": (0.0, 1.0), "rounding": STEP, "unrounded": unrounded}
    path = certify_path(smoothed, x, "rotation", -20.0, 20.0, **options)
    with monkeypatch.context() as patch:
        patch.setattr(trees, "anchors_of", lambda course, a, b, x, *_: images_of(course, (a + b) / 2, x, STEP))
        before = replace(certify_path(smoothed, x, "rotation", -20.0, 20.0, **options), rules=1)
    assert path.complete and before.complete and path.samples < before.samples
    assert not audit_path(smoothed, path, x).flags and not audit_path(smoothed, before, x).flags
    assert "radius" in audit_path(smoothed, replace(path, rules=1), x).flags
    assert audit_path(smoothed, replace(before, rules=3), x).flags == ("walk",)


def test_light_that_changes_all_entries_at_once_is_certified(linear):
    """The jump of 36 equal entries is longer than a cell of a path would be: it is asked for nevertheless."""
    x = torch.full((1, 6, 6), 0.5)
    smoothed = SmoothedClassifier(linear(torch.zeros(36), 9.0), Isotropic(0.15, 36))
    paths = [
        certify_path(smoothed, x, "brightness", -0.2, 0.2, rounding=STEP, unrounded=unrounded)
        for unrounded in (False, True)
    ]
    assert all(path.complete for path in paths) and paths[0].samples <= paths[1].samples


def test_less_probability_is_enough(linear):
    """At p = 0.7, everywhere alike, half a step of all entries asks for more: no path is certified but of files."""
    x, weight = picture(1), torch.eye(36)[0]  # an entry that is black, as what is turned in from outside
    x[0, 0, 0] = 0.0
    smoothed = SmoothedClassifier(linear(weight, 0.06 * 0.5244), Isotropic(0.06, 36))
    found = [
        certify_path(smoothed, x, "rotation", 0.0, 2.0, rounding=STEP, unrounded=unrounded, budget=20_000, seed=4)
        for unrounded in (False, True)
    ]
    assert cast(float, found[0].high) > cast(float, found[1].high)


def test_the_audit_asks_for_what_was_certified(linear):
    x = picture(2)
    smoothed = SmoothedClassifier(linear(torch.zeros(36), 0.05), Isotropic(0.05, 36))
    path = certify_path(smoothed, x, "rotation", -3.0, 3.0, rounding=STEP, unrounded=False)
    assert path.complete and "rounded" in repr(path)
    assert audit_path(smoothed, path, x, samples=1000).flags == ()
    assert {"radius", "walk"} <= {*audit_path(smoothed, replace(path, unrounded=True), x, samples=1000).flags}


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unrounded": False}, "unrounded=False needs a rounding: the step that images are rounded to, 1/255"),
        ({"unrounded": 0, "rounding": STEP}, "unrounded must be True or False, not 0"),
    ],
)
def test_bad_arguments_are_named(linear, options, message):
    smoothed = SmoothedClassifier(linear(torch.zeros(36), 1.0), Isotropic(0.1, 36))
    with pytest.raises(ValueError, match=message):
        certify_path(smoothed, picture(), "rotation", -1.0, 1.0, **options)


def test_what_cannot_be_halved_any_more_is_asked_about(linear):
    """Of 64 entries, spread over a step, 32 change in a cell of the least width: two halves would take fewer draws."""
    x = torch.arange(64) / 64
    smoothed = SmoothedClassifier(linear(torch.zeros(64), 1.0), Isotropic(1.8, 64))
    asked: dict[str, Any] = {"rounding": 1.0, "clamp": None, "unrounded": False, "budget": 500}
    path = certify_path(smoothed, x, "brightness", 0.0, 2048.0, **asked)
    assert path.status == "budget" and 1.3 < path.cells[0].rho < 1.8 and path.covers(0.5)


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_no_cell_asks_for_more_than_draws_can_show(linear, norm):
    """Rounding alone may move all entries by nine radii: what takes over ten thousand draws is halved without one."""
    x = torch.rand(1, 6, 6, generator=torch.Generator().manual_seed(0))
    smoothed = SmoothedClassifier(linear(torch.zeros(36), 1.0), Isotropic(0.3, 36), norm)
    path = certify_path(smoothed, x, "rotation", 0.0, 2.0, rounding=1.0, unrounded=False, samples=1000)
    assert all(path.family.probability(cell.rho) < 0.999 for cell in path.cells)
    assert path.samples < 2000 and audit_path(smoothed, path, x, samples=500).flags == ()


def test_a_step_that_no_entry_comes_near_asks_for_one_cell_a_side(linear):
    """Nor for more draws than cells of the least width take."""
    smoothed = SmoothedClassifier(linear(torch.zeros(36), 1.0), Isotropic(0.1, 36))
    path = certify_path(smoothed, picture(), "rotation", -2.0, 2.0, rounding=1e300, unrounded=False)
    assert path.complete and len(path.cells) == 2 and path.budget < 10**7
