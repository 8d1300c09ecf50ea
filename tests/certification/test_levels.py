"""Of a path alone the tests of nested cells share alpha: a walk over cells, of which those that are false are known."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binom

from rddrs import Isotropic, audit_path, certify_path
from rddrs.certification.budgets import levels_of
from rddrs.certification.paths import PathTerms
from rddrs.certification.trees import Node, Tree
from rddrs.certification.walks import Walk
from rddrs.smoothing import SmoothedClassifier
from rddrs.trust.paths import contradicted
from tests.certification.test_paths import push

ALPHA, WALKS = 0.2, 600


class Known(Tree):
    """A tree whose cells of every size may be asked about, down to a sixteenth of a side."""

    def __init__(self, low: tuple[float, ...], high: tuple[float, ...]) -> None:
        self.low, self.high = low, high

    def measured(self, nodes: Sequence[Node]) -> list[Node]:
        sizes = [np.subtract(it.stop, it.start) for it in nodes]
        return [it._replace(rho=1.0, axis=int(size.argmax())) for it, size in zip(nodes, sizes, strict=True)]

    def ends_at(self, node: Node) -> bool:
        return node.width <= 1 / 8


def walked(tree: Known, wrong: np.ndarray, source: np.random.Generator, levels: Any) -> bool:
    """Whether a walk claims a severity at which G_C answers another class.

    A test of a cell that holds one says `yes` with the probability that it may at most, its level; of the others one in
    five is such, too, as one whose region is too large, and the rest is proven nine times of ten.
    """
    walk, order, width, larger = Walk(tree, 10**6), 0, 1, dict[Any, bool]()
    while nodes := walk.ready(width):
        proven = []
        for node in nodes:
            low, high = node.severities
            false = bool(((wrong >= low) & (wrong <= high)).all(axis=1).any())
            false |= larger.setdefault((low, high), source.random() < 0.2)
            order += 1
            proven.append(source.random() < (levels(order, node.tried) if false else 0.9))
        walk.tell(proven)
        width = min(2 * width, 16) if all(proven) else 1
    low, high = walk.ends
    return any(map(any, walk.ends)) and bool(((wrong >= low) & (wrong <= high)).all(axis=1).any())


@pytest.mark.parametrize(("low", "high"), [((-1.0,), (1.0,)), ((0.0,), (1.0,)), ((-1.0, -1.0), (1.0, 1.0))])
def test_a_walk_claims_something_false_as_seldom_as_alpha_says(low, high):
    """600 walks, with wrong severities anywhere, at the ends of cells among them: false alarms 1e-6.

    With the level of a first test for every test more are false: the bound is no idle one.
    """
    tree = Known(low, high)
    for rule, holds in ((levels_of(tree, ALPHA, False), True), (lambda *_: 0.75 * ALPHA, False)):
        source, false = np.random.default_rng(0), 0
        for _ in range(WALKS):
            wrong = source.uniform(low, high, (3, len(low)))
            wrong[:2] = (8 * wrong[:2]).round() / 8
            false += walked(tree, wrong, source, rule)
        assert (false <= binom.isf(1e-6, WALKS, ALPHA)) == holds and false > 0.3 * ALPHA * WALKS


@pytest.fixture
def alone(linear):
    """A path alone that ends where G_C changes, and what it is of."""
    smoothed, x = SmoothedClassifier(linear(torch.tensor([1.0, 0.0]), 0.0), Isotropic(0.1, 2)), torch.tensor([4.0, 0.0])
    return smoothed, x, certify_path(smoothed, x, push([-1.0, 0.0]), -1.0, 5.0, clamp=None, regions=False, index=3)


def test_a_path_alone_takes_fewer_draws_and_says_nothing_of_regions(alone):
    smoothed, x, path = alone
    terms = PathTerms.of(path)
    assert path.low == -1 and path.covers(3.5) and not path.covers(4)
    short, whole = (replace(terms, high=3.0, regions=it).certify(smoothed, x, index=3) for it in (False, True))
    assert short.complete and whole.complete and short.samples < 0.8 * whole.samples
    assert whole.contains(x[None]).all()
    with pytest.raises(ValueError, match="without its regions"):
        path.contains(x[None])
    levels = sorted({cell.alpha for cell in path.cells}, reverse=True)
    assert len(levels) > 3 and levels == pytest.approx([0.375e-3 * 0.25**tried for tried in range(len(levels))])
    assert not audit_path(smoothed, path, x, terms=terms).flags and not contradicted(path, terms)


def changed(path, place, **values):
    cells = [replace(it, **values) if number == place else it for number, it in enumerate(path.cells)]
    return replace(path, cells=tuple(cells))


def test_levels_that_a_path_alone_cannot_have_are_caught(alone):
    """A larger one, those of a path that was asked for with its regions, and cells that are not those of one tree."""
    smoothed, x, path = alone
    tried = next(place for place, it in enumerate(path.cells) if it.proven and it.alpha < 1e-4)
    first = next(place for place, it in enumerate(path.cells) if it.proven and it.alpha > 1e-4)
    cell = path.cells[first]
    middle = (cell.low[0] + cell.high[0]) / 2
    lies = (
        changed(path, tried, alpha=0.375e-3),
        changed(path, first, low=(middle,), high=(cell.high[0] + (middle - cell.low[0]),)),
        replace(path, regions=True),
    )
    for lie in lies:
        assert "level" in audit_path(smoothed, lie, x).flags
    terms = PathTerms.of(path)
    assert all("level" in contradicted(lie, replace(terms, regions=lie.regions)) for lie in lies[1:])
    asked = replace(terms, regions=True)
    assert "terms" in audit_path(smoothed, path, x, terms=asked).flags and "terms" in contradicted(path, asked)


def test_a_box_alone_that_grows_to_one_side_is_caught(linear):
    """Its proven cells cover that, but the level is of a box with the proportions of what was asked."""
    smoothed = SmoothedClassifier(linear(torch.ones(4), -0.8), Isotropic(0.2, 4))
    x, box = torch.tensor([0.3, 0.5, 0.5, 0.5]), ("contrast+brightness", (-0.4, -0.5), (0.4, 0.5))
    path = certify_path(smoothed, x.view(1, 2, 2), *box, regions=False, samples=1000, clamp=None)
    assert not contradicted(path, PathTerms.of(path)) and isinstance(path.high, tuple) and 0 < path.high[0] < 0.2
    lie = replace(path, high=(0.4, path.high[1]))
    assert contradicted(lie, PathTerms.of(lie)) == ["ends"]
    assert contradicted(replace(lie, regions=True), replace(PathTerms.of(lie), regions=True)) == ["level"]


def test_no_earlier_version_has_a_path_alone(alone):
    """Whose walk would not be made again where images are rounded."""
    smoothed, x, path = alone
    assert audit_path(smoothed, replace(path, rules=2), x).flags == ("form",)


def test_the_last_bits_of_a_radius_may_be_others(alone):
    """They hang on what images are made together, which a later version may do otherwise."""
    smoothed, x, path = alone
    rho = path.cells[0].rho
    found = [audit_path(smoothed, changed(path, 0, rho=rho * it), x, samples=100).flags for it in (1 + 1e-13, 1 + 1e-7)]
    assert found == [(), ("walk",)]
