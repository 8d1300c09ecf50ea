"""Paths against their oracle: with a linear classifier and a linear perturbation the exact interval is known."""

import itertools
import math
from fractions import Fraction
from typing import Any, cast

import numpy as np
import pytest
import torch
from scipy.stats import binom, norm

from rddrs import Diagonal, Full, Isotropic, Perturbation, certify_path
from rddrs.certification.budgets import share
from rddrs.certification.cells import Course, Ruler, needed
from rddrs.certification.paths import feared
from rddrs.certification.trees import anchors_of, images_of, longest_radius, placed
from rddrs.noise import Purpose, Stream
from rddrs.smoothing import Question, SmoothedClassifier, ask, decide, least
from rddrs.threats.linear import Linear

KINDS = ["isotropic", "diagonal", "full", "kronecker"]


def push(direction, name="push"):
    """x + s v, with its exact bound."""
    v = np.asarray(direction, dtype=float)
    bound = lambda x, low, high: np.broadcast_to((high - low) / 2 * np.abs(v), x.shape)  # noqa: E731
    return Perturbation(name, lambda x, s: x + s * v, 100, images=False, variation=bound)


def swing(x, s):
    """A perturbation that bends: every entry turns with a speed of its own."""
    return x * np.cos(s * np.arange(1, x.size + 1).reshape(x.shape)) + np.sin(s)


def swing_bound(x, low, high):
    """The largest speed times half the width."""
    return (np.abs(x) * np.arange(1, x.size + 1).reshape(x.shape) + 1) * (high - low) / 2


SWING = Perturbation("swing", swing, 3, images=False, variation=swing_bound)


def smoothed_of(oracle, **options):
    return SmoothedClassifier(oracle.classifier, oracle.scale, **options)


def exact_end(oracle, direction):
    """The severity at which G_C changes its answer: where the margin is 0."""
    weight = oracle.classifier.weight.double()
    margin = weight @ oracle.x.double() + oracle.classifier.bias
    return (-margin / (weight @ torch.as_tensor(direction, dtype=torch.float64))).item()


@pytest.mark.parametrize("kind", KINDS)
def test_the_interval_of_a_linear_classifier(oracle_of, kind):
    """At n = 20,000 at least 0.9 of the exact interval is certified and nothing beyond; the other side as asked.

    False alarms: beyond the end a test is false with at most alpha = 1e-3, in fact much less: cells end far from it.
    """
    oracle = oracle_of(kind, 6, radius=2.0, seed=3)
    covariance = oracle.scale.covariance
    direction = -(covariance @ oracle.classifier.weight.double()).numpy()
    end = exact_end(oracle, direction)
    path = certify_path(smoothed_of(oracle), oracle.x, push(direction), -0.4 * end, 2 * end, clamp=None, seed=1)
    assert path.prediction == 1 and path.low == -0.4 * end
    assert 0.9 * end <= cast(float, path.high) <= end
    assert path.covers(0.5 * end) and path.covers(path.high) and not path.covers(1.001 * end)
    assert not path.complete and path.samples == 100 + sum(sum(cell.counts) for cell in path.cells)


@pytest.mark.parametrize(("regions", "level"), [(True, 0.05), (False, 0.075)])
def test_on_the_threshold_a_path_is_false_as_often_as_alpha_allows(linear, regions, level):
    """1,000 paths of one cell whose region just reaches the boundary: p is the threshold, so that each is false.

    Their share is at most the binomial quantile of the first test's level: false alarms 1e-6. With another threshold,
    Phi(0.9 rho), ten times as many are: the test has power.
    """
    sigma, alpha, rho = 1.0, 0.1, 0.04
    classifier, x = linear(torch.tensor([1.0, 0.0]), 0.0), torch.tensor([2 * rho, 0.0])
    smoothed = SmoothedClassifier(classifier, Isotropic(sigma, 2))
    false = 0
    for index in range(1000):
        path = certify_path(
            smoothed, x, push([-1.0, 0.0]), 0, 2 * rho, clamp=None, alpha=alpha, samples=24, index=index,
            selection_samples=20, regions=regions,
        )  # fmt: skip
        false += path.prediction == 1
        assert (
            len(path.cells) == 1 and abs(path.cells[0].rho - rho) < 1e-6 and path.cells[0].alpha == pytest.approx(level)
        )
    assert 0 < false <= binom.isf(1e-6, 1000, level)


def test_a_path_that_fails_takes_no_more_than_its_budget(oracle_of):
    """The levels of the tests do not depend on it, and what is proven until it is spent is certified."""
    oracle = oracle_of("isotropic", 6, radius=2.0, seed=3)
    direction = -(oracle.scale.covariance @ oracle.classifier.weight.double()).numpy()
    end = exact_end(oracle, direction)

    def path(budget=None, **options):
        options = {"low": -2 * end, "high": 2 * end, "budget": budget, "clamp": None, "seed": 1} | options
        return certify_path(smoothed_of(oracle), oracle.x, push(direction), **options)

    whole, part, little = path(10**7), path(30_000), path(2500, samples=1000)
    assert whole.status == "unproven" and part.status == little.status == "budget" and part.prediction == 1
    assert part.samples <= 30_000 and 2000 < little.samples <= 2500 and whole.samples > 30_000
    assert all(cell.alpha == share(1e-3, cell.order, 4) for cell in part.cells)
    assert little.low == -2 * end  # no draw is kept from the other side
    assert 0.5 * end < cast(float, part.high) <= cast(float, whole.high) <= end
    assert not part.complete and path(high=0.4 * end).status == "complete"
    assert path(50).samples == 100 and path(50).prediction == -1


def test_the_budget_where_none_is_given_is_of_the_path_and_not_of_its_draws(linear):
    """Ten full tests, and more the longer the path is: a straight one of 400 units by one of 4 units."""
    smoothed = SmoothedClassifier(linear(torch.tensor([1.0, 0.0]), 0.0), Isotropic(0.5, 2))
    short, long = (
        certify_path(smoothed, torch.zeros(2), push([1.0, 0.0]), -end, end, clamp=None, samples=50).budget
        for end in (1.0, 100.0)
    )
    assert 500 < short < 4000 < 4 * 150 * 50 < long < 4 * 600 * 120


@pytest.mark.parametrize("expected", [1, 64, 1024])
def test_levels_of_the_tests_sum_to_alpha(expected):
    levels = [share(0.01, order, expected) for order in range(1, 10_001)]
    assert math.isclose(math.fsum(levels), 0.01 * (1 - expected / (expected + 10_000)))
    assert levels[0] < 4.1 * levels[expected - 1]


def test_a_question_is_given_up_where_its_halves_are_cheaper(linear):
    """At p = Phi(1) a radius of 0.97 would need 100,000 draws or more, two of 0.485 about 250 each."""
    smoothed = SmoothedClassifier(linear(torch.tensor([1.0, 0.0]), 0.0), Isotropic(1.0, 2))
    point, many = torch.tensor([1.0, 0.0]), 20_000
    whole, half = (Question(Stream(0, 0, Purpose.PATH), point, float(norm.cdf(0.97 / parts)), 1e-6) for parts in (1, 2))
    (long,) = ask(smoothed, [whole], 1, samples=many)
    (given,) = ask(smoothed, [whole._replace(instead=(2, half.probability))], 1, samples=many)
    (short,) = ask(smoothed, [half], 1, samples=many)
    assert long.samples == many and given.samples < 2000 and given.decision == "undecided"
    assert short.decision == "yes" and short.samples < 1000
    easy = whole._replace(point=torch.tensor([5.0, 0.0]))
    halved = easy._replace(instead=(2, half.probability))
    assert ask(smoothed, [halved], 1, samples=many) == ask(smoothed, [easy], 1, samples=many)


@pytest.mark.parametrize("probability", [0.6, 0.7734, 0.9])
def test_the_first_look_is_the_first_that_can_decide(probability):
    draws = least(probability, 1e-5)
    assert decide(draws, draws, probability, 1e-5) == "yes" != decide(draws - 1, draws - 1, probability, 1e-5)


def test_answers_depend_neither_on_workers_nor_on_what_else_is_asked(oracle_of):
    oracle = oracle_of("isotropic", 3, radius=0.8)
    smoothed, stream = smoothed_of(oracle), Stream(0, 0, Purpose.PATH)
    questions = [Question(stream.child(k), oracle.x + 0.02 * k, 0.6 + 0.03 * k, 1e-3) for k in range(1, 8)]
    found = ask(smoothed, questions, 1, samples=700, batch=50)
    assert ask(smoothed, questions, 1, samples=700, batch=50, workers=3) == found
    assert ask(smoothed, questions[::-1], 1, samples=700, batch=50)[::-1] == found
    assert [ask(smoothed, [question], 1, samples=700, batch=50)[0] for question in questions] == found
    again = ask(smoothed, questions, 1, samples=700, batch=50, drawn=[answer.samples for answer in found])
    assert [answer.counts for answer in again] == [answer.counts for answer in found]
    assert len({answer.decision for answer in found}) > 1


def test_a_path_depends_on_seed_and_index_alone(oracle_of):
    oracle = oracle_of("full", 4, radius=1.0)

    def cells(**options):
        keyed: dict[str, Any] = {"seed": 1, "index": 2, "samples": 500} | options
        return certify_path(smoothed_of(oracle), oracle.x, push([0.3, 0, 0.1, 0]), -2, 2, clamp=None, **keyed).cells

    assert cells() == cells() == cells(workers=2)
    assert cells() != cells(seed=2) and cells() != cells(index=3)


@pytest.mark.parametrize("scale", [Isotropic(0.3, 5), Diagonal(torch.tensor([0.2, 0.5, 1.0, 0.4, 0.3]))])
@pytest.mark.parametrize("norm", ["l2", "l1"])
@pytest.mark.parametrize("clamp", [None, (-0.5, 0.5)])
def test_the_radius_holds_the_cell_and_little_more(scale, norm, clamp):
    """No point of a cell, of 2,000, is farther from the anchor than the radius; the farthest is at most 0.1 nearer."""
    x = torch.tensor([0.3, -0.2, 0.8, 0.1, -0.6])
    course, ruler = Course([SWING], x, clamp), Ruler(scale, norm)
    low = torch.tensor([[-0.03], [0.0], [0.7]], dtype=torch.float64)
    high = torch.tensor([[0.0], [0.05], [0.72]], dtype=torch.float64)
    anchors = course.points((low + high) / 2)
    radii = needed(course, ruler, low, high, anchors, 10.0)
    for place in range(3):
        t = torch.linspace(low[place].item(), high[place].item(), 2000, dtype=torch.float64)[:, None]
        farthest = ruler.length(course.points(t) - anchors[place]).max()
        assert farthest <= radii[place] <= farthest + 0.1
    assert needed(course, ruler, low, high, anchors, 0.01).isinf().all()


@pytest.mark.parametrize("scale", [Isotropic(0.3, 2), Full(torch.tensor([[0.4, 0.1], [0.1, 0.3]]))])
def test_where_nothing_bounds_a_cell_no_radius_holds_it(scale):
    unknown = Perturbation("unknown", lambda x, s: x + s, 1, images=False, variation=lambda x, *_: x + np.inf)
    low, high = torch.zeros(1, 1, dtype=torch.float64), torch.full((1, 1), 0.1, dtype=torch.float64)
    for rounding, unrounded in ((None, True), (0.1, True), (0.1, False)):
        course = Course([unknown], torch.zeros(2), None, rounding, unrounded)
        anchor = anchors_of(course, low, high, torch.zeros(2), None).double()
        assert needed(course, Ruler(scale, "l2"), low, high, anchor, 1.0).isposinf().all()


LONG = Full(0.2 * torch.eye(36) + 2 * torch.ones(36, 36) / 36)
"""Ten times as long in brightness as in all else."""


@pytest.mark.parametrize("name", ["rotation", "brightness", "rotation+brightness", "contrast+brightness", "haze+scale"])
@pytest.mark.parametrize("scale", [Diagonal(torch.linspace(0.1, 0.3, 36)), LONG])
@pytest.mark.parametrize("clamp", [None, (0.0, 1.0)])
@pytest.mark.parametrize("rounding", [None, 1 / 32])
def test_the_radius_holds_images_that_are_clipped_and_rounded_in_part(name, scale, clamp, rounding):
    """No image of three cells, of 1,000, any of its entries rounded, is farther than the radius; nor by much less."""
    source = torch.Generator().manual_seed(0)
    x = (2 * torch.rand(1, 6, 6, generator=source) - 0.5).clamp(0, 1)  # black, grey and white
    course, ruler = Course(feared(name), x, clamp, rounding), Ruler(scale, "l2")
    middle = torch.tensor([[0.0, 0.0], [0.1, 0.1], [-0.1, 0.2]], dtype=torch.float64)[:, : len(course.straight)]
    widths = torch.tensor([3.0 if it.name == "rotation" else 0.15 for it in feared(name)], dtype=torch.float64)
    low, high = middle - widths / 2, middle + widths / 2
    both_kinds = (images_of(course, middle, x, rounding), anchors_of(course, low, high, x, None))
    for anchors, place in itertools.product([each.double().flatten(1) for each in both_kinds], range(3)):
        radii = needed(course, ruler, low, high, anchors, math.inf)
        shares = torch.rand(1000, len(widths), generator=source, dtype=torch.float64)
        shares[:100] = shares[:100].round()
        images = course.points(low[place] + shares * widths)
        if rounding is not None:
            chosen = torch.rand(images.shape, generator=source) < torch.rand(1000, 1, generator=source)
            images = torch.where(chosen, rounding * (images / rounding).round(), images)
        farthest = ruler.length(images - anchors[place]).max()
        rounded = 0.0 if rounding is None else ruler.most(torch.full((1, 36), rounding / 2).double()).item()
        assert farthest <= radii[place] <= 1.25 * farthest + 0.1 + rounded


class Toned(Linear):
    """x + s 4 x (1 - x): linear in s, and bent in x."""

    def direction(self, x):
        return 4 * x * (1 - x)

    def carried(self, bounds, x, low, high):
        return (1 + 4 * high.view(-1, 1, 1, 1) * (1 + 2 * x.abs() + bounds)) * bounds


def test_a_second_change_may_be_linear_in_its_severity_alone():
    """Between a ground of 0 and one of 1, neither of which it changes, it is at most 1.56: farther off than both."""
    pair = [*feared("brightness"), Perturbation("toned", Toned(), 1, images=False, two_sided=False)]
    course, ruler = Course(pair, torch.zeros(1, 2, 2)), Ruler(Isotropic(1.0, 4), "l2")
    low, high = torch.tensor([[0.0, 0.9]]).double(), torch.tensor([[1.0, 1.0]]).double()
    severities = torch.cartesian_prod(torch.linspace(0, 1, 101), torch.linspace(0.9, 1, 11)).double()
    anchor = torch.full((1, 4), 0.5).double()
    farthest = ruler.length(course.points(severities) - anchor).max()
    assert farthest > 2 and needed(course, ruler, low, high, anchor, math.inf) >= farthest


def test_entries_that_stay_what_they_are_add_nothing_to_a_radius():
    """Of a small turned picture with a wide black frame rounding adds less than a third of half a step's length."""
    x = torch.zeros(1, 12, 12)
    x[:, 4:8, 5:7] = 1.0
    low, high = (torch.tensor([[end]], dtype=torch.float64) for end in (-0.5, 0.5))
    radii = []
    for rounding in (None, 1 / 64):
        course, ruler = Course(feared("rotation"), x, (0.0, 1.0), rounding), Ruler(Isotropic(0.1, 144), "l2")
        radii.append(needed(course, ruler, low, high, x.double().view(1, -1), math.inf).item())
    assert 0 < radii[1] - radii[0] < math.sqrt(144) / 128 / 0.1 / 3


def test_a_long_axis_costs_no_cells(linear):
    """Brightness of +-0.5, clipped and not, under a C that is long there: a few tests; isotropic noise needs many."""
    x = (2 * torch.rand(1, 6, 6, generator=torch.Generator().manual_seed(0)) - 0.5).clamp(0, 1)
    counts = []
    for scale in (LONG, Isotropic(0.2, 36)):
        smoothed = SmoothedClassifier(linear(torch.zeros(36), 9.0), scale)
        for clamp in (None, (0.0, 1.0)):
            path = certify_path(smoothed, x, "brightness", -0.5, 0.5, clamp=clamp)
            assert path.complete
            counts.append(len(path.cells))
    assert counts[0] <= 4 and counts[0] <= counts[1] < counts[3] < counts[2]


@pytest.mark.parametrize(("light", "clamp"), [(0.25, None), (0.1, (0.0, 1.0))])
def test_a_box_along_a_long_axis_costs_little_more_than_a_path(linear, light, clamp):
    """Rotation of +-10 alone, and with changes of brightness along which C is long, so that no cell is cut there."""
    x = torch.rand(1, 6, 6, generator=torch.Generator().manual_seed(0))
    smoothed = SmoothedClassifier(linear(torch.zeros(36), 9.0), LONG)
    alone = certify_path(smoothed, x, "rotation", -10, 10, clamp=clamp)
    box = certify_path(smoothed, x, "rotation+brightness", (-10, -light), (10, light), clamp=clamp)
    assert alone.complete and box.complete and {(cell.low[1], cell.high[1]) for cell in box.cells} == {(-light, light)}
    assert box.samples <= 1.6 * alone.samples


@pytest.mark.parametrize(("light", "clamp"), [(-1.0, (0.15, 1.0)), (1.0, (0.0, 0.15))])
def test_a_clamped_value_half_way_between_two_steps_may_be_rounded_to_either(light, clamp):
    """0.15 is 1.5 steps of 0.1: floating point divides them to a little less, and files to 0.2, too."""
    course, ruler = Course(feared("brightness"), torch.zeros(1), clamp, 0.1), Ruler(Isotropic(1.0, 1), "l2")
    severity, anchor = (torch.tensor([[each]], dtype=torch.float64) for each in (light, 0.1))
    assert needed(course, ruler, severity, severity, anchor, math.inf) >= 0.1


@pytest.mark.parametrize("size", [1.0, 1e4, 1e6, 1e9])
def test_the_radius_holds_the_cell_in_exact_arithmetic(size):
    """Of large images under little noise the last bit of float64 is longer than a bound's own margin."""
    source = torch.Generator().manual_seed(0)
    for _ in range(100):
        x = size * (torch.rand(2, 2, generator=source) - 0.5)
        ends = torch.rand(2, generator=source, dtype=torch.float64).sort().values / 1e5
        low, high = (each.view(1, 1) for each in ends)
        course, ruler = Course(feared("brightness"), x), Ruler(Isotropic(1e-3, 4), "l2")
        anchor = placed(images_of(course, (low + high) / 2, x, None)[0], None)
        found = Fraction(needed(course, ruler, low, high, anchor[None], math.inf).item())
        pairs = [*zip(map(Fraction, x.flatten().tolist()), map(Fraction, anchor.tolist()), strict=True)]
        for end in (low, high):
            away = sum((value + Fraction(end.item()) - place) ** 2 for value, place in pairs)
            assert away <= (found * Fraction(1e-3)) ** 2


def test_rounded_images_along_the_path_are_covered(linear):
    """Clamped, rounded to a grid of sigma's order, with slack: 500 images of the path and a step each are inside."""
    step, x = 1 / 16, torch.tensor([0.25, 0.5, 0.75, 0.0625, 1.0])
    smoothed = SmoothedClassifier(linear(torch.ones(5), -0.3), Isotropic(0.25, 5), grid=step / 2)
    options: dict[str, Any] = {"slack": 0.2, "rounding": step, "clamp": (0.0, 1.0)}
    path = certify_path(smoothed, x, SWING, -0.2, 0.2, samples=5000, **options)
    assert path.complete and all(torch.equal(2 * anchor, step * (2 * anchor / step).round()) for anchor in path.anchors)
    assert path.cells[0].rho > 0.2 + step * math.sqrt(5) / 2 / 0.25
    low, high = cast(tuple[float, float], (path.low, path.high))
    t = torch.linspace(low, high, 500, dtype=torch.float64)[:, None]
    images = step * (Course([SWING], x, (0.0, 1.0)).points(t) / step).round()
    steps = torch.randn(500, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    steps *= 0.2 * (1 - 1e-9) * 0.25 / steps.norm(dim=1, keepdim=True)
    assert path.contains(images + steps).all()
    assert not path.contains(torch.full((1, 5), -9.0)).any()


def test_regions_of_the_cells_are_of_the_class(oracle_of):
    """Every point that a path contains, of 2,000 near its end, is of its class by the exact margin."""
    oracle = oracle_of("diagonal", 4, radius=1.5, seed=1)
    direction = -(oracle.scale.covariance @ oracle.classifier.weight.double()).numpy()
    end = exact_end(oracle, direction)
    path = certify_path(smoothed_of(oracle), oracle.x, push(direction), 0, 2 * end, clamp=None, samples=2000)
    source = torch.Generator().manual_seed(1)
    along = end * 1.5 * torch.rand(2000, 1, generator=source) * torch.from_numpy(direction).float()
    points = oracle.x + along + 0.1 * torch.randn(2000, 4, generator=source)
    inside = path.contains(points)
    margins = points @ oracle.classifier.weight + oracle.classifier.bias
    assert 50 < inside.sum() < 1900 and (margins[inside] > 0).all()


def test_an_end_where_nothing_can_be_certified(linear):
    smoothed = SmoothedClassifier(linear(torch.tensor([1.0, 0.0]), 0.0), Isotropic(0.5, 2))
    path = certify_path(smoothed, torch.zeros(2), push([1.0, 0.0]), -1, 1, clamp=None, samples=200)
    assert (path.prediction, path.low, path.high) == (-1, 0, 0) and not path.covers(0.0) and "no push" in repr(path)
    assert not path.contains(torch.zeros(1, 2)).any()


def test_the_longest_radius_is_where_paths_cost_least():
    """Of the radii that could be chosen it has the least mean cost, by the exact first looks; see METHOD section 14."""
    assert 0.6 <= longest_radius("l2", 0.0) <= 1.0 and 1.0 <= longest_radius("l2", 0.46) <= 1.3
    assert longest_radius("l1", 0.2) < 1
    costs = {rho: least(float(norm.cdf(rho)), 1e-7) / rho for rho in (0.1, 0.7, 2.0)}
    assert costs[0.7] < min(costs[0.1], costs[2.0])


@pytest.mark.parametrize("name", ["motion_blur", "defocus", "blur", "rotation"])
@pytest.mark.parametrize("rounding", [None, 1 / 255])
def test_an_anchor_is_the_same_whatever_is_made_with_it(name, rounding):
    x = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    course, limit = Course(feared(name), x, (0.0, 1.0), rounding), feared(name)[0].limit
    severities = limit * torch.linspace(0, 1, 33, dtype=torch.float64)[:, None]
    low, high = severities[:-1], severities[1:]
    alone = [anchors_of(course, *ends, x, None)[0] for ends in zip(low[:, None], high[:, None], strict=True)]
    assert torch.equal(anchors_of(course, low, high, x, None), torch.stack(alone))


def test_places_on_a_grid_are_exact():
    anchor = (torch.arange(256) / 255).float()
    assert torch.equal(placed(anchor, 1 / 255), torch.arange(256).double() * (1 / 255))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0.0}, "alpha must be"),
        ({"slack": -1.0}, "slack must be"),
        ({"clamp": (1.0, 0.0)}, r"clamp=\(1.0, 0.0\): a lower and a larger value are needed, \(0, 1\), or None"),
        ({"clamp": (0.0,)}, r"clamp=\(0.0,\): a lower and a larger value"),
        ({"clamp": (0.0, 0.5, 1.0)}, "a lower and a larger value"),
        ({"rounding": 0.0}, "rounding=0.0: a positive step is needed, 1/255, or None"),
        ({"rounding": 0.3}, "multiple of the step"),
        ({"samples": 0}, "samples must be"),
        ({"budget": 0}, "budget must be"),
        ({"budget": 1000.5}, "budget must be a whole number, not 1000.5"),
        ({"low": None}, "severities must be numbers, not None"),
        ({"high": [[1.0]]}, r"severities must be numbers, not \[\[1.0\]\]"),
        ({"low": 1.0}, "low <= 0 <= high"),
        ({"low": 0.0, "high": 0.0}, "low < high"),
        ({"low": (0.0, 0.0)}, "1 ends each"),
        ({"perturbation": "snow"}, "there is no snow"),
        ({"perturbation": Perturbation("bare", lambda x, s: x + s, 1, images=False)}, "no bound of its variation"),
        ({"perturbation": Perturbation("one", swing, 1, images=False, two_sided=False)}, "no negative severities"),
        ({"perturbation": Perturbation("lost", lambda x, s: x * np.nan, 1, images=False)}, "gives NaN"),
        (
            {"perturbation": Perturbation("lie", swing, 1, images=False, variation=lambda x, a, b: x - 9)},
            "numbers >= 0",
        ),
        ({"x": torch.tensor([1, 2])}, "floating point"),
        ({"index": 1.5}, "index must be a whole number, not 1.5"),
        ({"seed": True}, "seed must be a whole number, not True"),
    ],
)
@pytest.mark.usefixtures("shapes_unchecked")
def test_bad_arguments_have_one_clear_error(linear, options, message):
    given: dict[str, Any] = {"x": torch.zeros(2), "perturbation": SWING, "low": -1.0, "high": 1.0} | options
    smoothed = SmoothedClassifier(linear(torch.ones(2), 0.0), Isotropic(1.0, 2), grid=0.25)
    with pytest.raises(ValueError, match=message):
        certify_path(smoothed, **given)


def test_a_box_of_a_linear_classifier(linear):
    """The exact set of severities is a half plane; the certified box has the asked proportions and is in it.

    Along brightness, which is unclamped and straight, no sub-cells are needed.
    """
    weight, sigma = torch.tensor([1.0, 0.5, 0.0, 0.0]), 0.25
    classifier = linear(weight, 1.5)
    x = torch.zeros(1, 2, 2)
    smoothed = SmoothedClassifier(classifier, Isotropic(sigma, 4))
    asked = (-0.8, -2.0), (0.8, 0.4)
    path = certify_path(smoothed, x, "stripes+brightness", *asked, clamp=None, samples=4000)
    low, high = (np.array(cast(tuple[float, float], end)) for end in (path.low, path.high))
    reached = high / asked[1]
    assert path.name == "stripes+brightness" and np.allclose(low / asked[0], reached) and 0 < reached[0] < 1
    corners = [(first, second) for first in (low[0], high[0]) for second in (low[1], high[1])]
    margins = [1.5 + 1.5 * first + 1.5 * second for first, second in corners]  # both rows 0: stripes adds +1 there
    assert 0 < min(margins) < 0.35 and path.covers(corners[0]) and not path.covers((0.79, 0.39))
    points = torch.stack([x + first * torch.tensor([[1.0], [-1.0]]) + second for first, second in corners])
    assert path.contains(0.999 * points.float()).all()
    proven = np.array([[*cell.low, *cell.high] for cell in path.cells if cell.proven])
    for t in np.random.default_rng(0).uniform(low, high, (500, 2)):
        assert ((proven[:, :2] <= t) & (t <= proven[:, 2:])).all(axis=1).any()


def test_a_box_with_an_interpolation_inside(linear):
    """Rotation, then brightness, clamped and not: 300 random images of the box are covered."""
    x = torch.rand(1, 6, 6, generator=torch.Generator().manual_seed(0))
    smoothed = SmoothedClassifier(linear(torch.ones(36), -4.0), Isotropic(0.3, 36))
    for clamp in (None, (0.0, 1.0)):
        path = certify_path(smoothed, x, ("rotation", "brightness"), (-8, -0.05), (8, 0.05), clamp=clamp)
        assert path.complete
        t = torch.rand(300, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2 - 1
        severities = t * torch.tensor([8, 0.05], dtype=torch.float64)
        images = Course(path.perturbations, x, clamp).points(severities).view(-1, 1, 6, 6)
        assert path.contains(images).all()


@pytest.mark.parametrize("pair", [("rotation", "jpeg_blocks"), ("rotation", push([1.0]))])
def test_what_cannot_be_second_is_refused(linear, pair):
    smoothed = SmoothedClassifier(linear(torch.ones(36), 0.0), Isotropic(0.3, 36))
    with pytest.raises(ValueError, match="cannot be applied second"):
        certify_path(smoothed, torch.rand(1, 6, 6), pair, (0, 0), (1, 0.1))


def test_a_path_has_a_picture(linear):
    smoothed = SmoothedClassifier(linear(torch.ones(36), 0.0), Isotropic(0.3, 36))
    path = certify_path(smoothed, torch.rand(1, 6, 6), "rotation", -1, 1, samples=500)
    assert path._repr_html_().count("data:image/png") == 9 and "rotation from -1.000 to 1.000 degrees" in repr(path)
