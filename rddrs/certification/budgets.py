"""What a path may cost, and what a box would: all of it known before the first draw (METHOD section 14)."""

import math
from collections.abc import Callable

from rddrs.certification.trees import Node, Tree
from rddrs.certification.walks import WAVE
from rddrs.smoothing import least

FULL_TESTS, FAIR = 10, 4
"""The budget of a path, where none is given: so many full tests, and so many times what its tests cost at least."""

MOST_CELLS = 1 << 12
"""The cells of a box that its budget counts, where none is given: a larger one is worth hours, and has to be meant."""

PLACES = [tuple((0.5 + k * step) % 1 for step in (0.7548776662466927, 0.5698402909980532)) for k in range(1, 9)]
"""Where a box is looked at: points that are spread evenly over the unit square (Roberts' sequence)."""


def share(alpha: float, order: int, expected: int) -> float:
    """The level of the k-th test, alpha N / ((N + k - 1) (N + k)): together they are alpha, however many there are.

    N, the number of tests that are `expected`, is known before the first draw: those have nearly equal shares.
    """
    return alpha * expected / ((expected + order - 1) * (expected + order))


Levels = Callable[[int, int], float]
"""The level of a test: by its number, and by how many cells that hold its own were asked about in vain."""

AT_ONCE = 0.75
"""Of the level that is left to nested cells what the next of them has."""


def levels_of(tree: Tree, alpha: float, regions: bool) -> Levels:
    """The levels of the tests of a path: with its `regions`, where all that is proven is claimed, alpha in all.

    Of the path alone the tests of cells that hold each other have it, of either side of 0 a half: where G_C answers
    another class at a severity, and none that is nearer to 0, nothing false is said before one of the cells that hold
    it is proven, and each of these is asked about once those around it were not.
    """
    if regions:
        return lambda order, tried: share(alpha, order, tree.expected)
    return lambda order, tried: alpha / tree.sides * AT_ONCE * (1 - AT_ONCE) ** tried


def budget_of(tree: Tree, levels: Levels, samples: int) -> int:
    """The draws that a path may take where it is not said: ten full tests, and four times what its tests cost at least.

    That is the draws of all its cells, of a box of `MOST_CELLS` at most, of the longest radius, where every draw is
    right. No draw decides it.
    """
    cells = tree.expected
    fair = least(tree.family.probability(tree.longest), levels(cells, 0))
    return FULL_TESTS * samples + FAIR * (cells if len(tree.low) == 1 else min(cells, MOST_CELLS)) * fair


def most_cells(tree: Tree, budget: int, levels: Levels) -> int:
    """How many cells a walk may look at: twice as many as the budget can prove, and a front of those on their way.

    A tree has less than twice as many cells as leaves, and each leaf that is proven takes the draws of the shortest
    radius or more: no walk that would reach all that is asked for is stopped.
    """
    cheapest = least(tree.family.probability(tree.slack), levels(1, 0))
    return 2 * (budget // cheapest) + 64 * WAVE


def samples_of_box(tree: Tree, levels: Levels) -> int:
    """About how many draws a box takes at least, where all of them are right.

    The cells that hold a few places are found, each by halving the box where it lies. One that is a share w of the box
    stands for 1 / w of them (Knuth, Mathematics of Computation 1975). Where one of the least width is still too long
    the walk ends: only those that are nearer to 0 count.
    """
    low, high = tree.low, tree.high
    root = Node((low, high), tuple(-1.0 * (end < 0) for end in low), tuple(1.0 * (end > 0) for end in high))
    leaves, level, draws = _leaves(tree, root), levels(tree.expected, 0), 0.0
    reached = min((leaf.distance for leaf, _ in leaves if leaf.dear), default=1.0)
    for leaf, count in leaves:
        if leaf.distance < reached:
            draws += count / len(PLACES) * _size(root) / _size(leaf) * least(tree.family.probability(leaf.rho), level)
    return round(draws)


def _size(node: Node) -> float:
    return math.prod(stop - start for start, stop in zip(node.start, node.stop, strict=True))


def _leaves(tree: Tree, root: Node) -> list[tuple[Node, int]]:
    """The cells that are asked about where the places lie, and how many of these; dear where none can be."""
    sides = [*zip(root.start, root.stop, strict=True)]
    places = [tuple(a + (b - a) * part for (a, b), part in zip(sides, place, strict=True)) for place in PLACES]
    found, pending = list[tuple[Node, int]](), [(root, places)]
    while pending:
        measured, held = tree.measured([node for node, _ in pending]), [inside for _, inside in pending]
        pending = []
        for node, inside in zip(measured, held, strict=True):
            if not node.dear or tree.ends_at(node):
                found.append((node, len(inside)))
                continue
            lower, upper = node.halves(0)
            below = [place for place in inside if place[node.axis] < upper.start[node.axis]]
            above = [place for place in inside if place[node.axis] >= upper.start[node.axis]]
            pending += [(half, part) for half, part in ((lower, below), (upper, above)) if part]
    return found
