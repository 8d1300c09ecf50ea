"""The walk over a path: which cells are asked about next (METHOD section 14)."""

import math
from collections.abc import Sequence
from typing import Any

from rddrs.certification.cells import Severities
from rddrs.certification.trees import Node, Tree

WAVE = 16
"""Cells that are asked about at the same time, at most: one after a cell that was not proven, then twice as many."""


class Walk:
    """The cells of a path, outward from 0, until one on each side that cannot be proven; a box has one side, all of it.

    Where the next cell of a side is one that was halved because it was not proven, the other side comes first: what
    is easily proven is, before a draw goes into what may never be. It looks at `most` cells; where these are
    `exhausted` it ends.
    """

    def __init__(self, tree: Tree, most: int) -> None:
        low, high = tree.low, tree.high
        self._tree, self._low, self._high, self._left, self.exhausted = tree, low, high, most, False
        start, stop = tuple(-1.0 * (end < 0) for end in low), tuple(1.0 * (end > 0) for end in high)
        sides = [(start, stop)] if len(low) > 1 else [(start, (0.0,)), ((0.0,), stop)]
        self._pending = [Node((low, high), near, far) for near, far in sides if near != far]
        self._reached = {self._side(node): 1.0 for node in self._pending}

    def _side(self, node: Node) -> float:
        """The sign of a path's cell; of a box 0."""
        return 0.0 if len(node.start) > 1 else math.copysign(1.0, sum(node.start + node.stop))

    def ready(self, width: int) -> list[Node]:
        """The next cells, at most `width`, that a draw is worth; none at the end."""
        while True:
            self._sort()
            unknown = [place for place, node in enumerate(self._pending[:WAVE]) if math.isnan(node.rho)]
            if not unknown:
                return self._pending[:width]
            self._left -= len(unknown)
            if self._left < 0:
                self.exhausted = True
                self.stop()
                return []
            measured = self._tree.measured([self._pending[place] for place in unknown])
            for place, node in zip(unknown, measured, strict=True):
                self._pending[place] = node
            nodes = self._pending
            self._pending = [node for node in nodes if not node.dear]
            for node in nodes:
                if node.dear:
                    self._halve(node, node.tried)

    def tell(self, proven: Sequence[bool]) -> None:
        """Whether the cells that were ready are proven."""
        nodes, self._pending = self._pending[: len(proven)], self._pending[len(proven) :]
        for node, done in zip(nodes, proven, strict=True):
            if not done:
                self._halve(node, node.tried + 1)

    def stop(self) -> None:
        """No cell that is still to be asked about is proven."""
        for node in self._pending:
            self._end(node)

    @property
    def ends(self) -> tuple[Severities, Severities]:
        """The severities between which all is proven, given that the walk is at its end."""
        low, high = (
            tuple(self._reached.get(sign if len(ends) == 1 else 0.0, 0.0) * end + 0.0 for end in ends)
            for sign, ends in ((-1.0, self._low), (1.0, self._high))
        )
        return low, high

    def _sort(self) -> None:
        nodes = sorted((it for it in self._pending if it.distance < self._reached[self._side(it)]), key=_outward)
        hard: dict[float, bool] = {}
        for node in nodes:
            hard.setdefault(self._side(node), node.tried > 0)
        self._pending = sorted(nodes, key=lambda node: hard[self._side(node)])

    def _halve(self, node: Node, tried: int) -> None:
        if self._tree.ends_at(node):
            self._end(node)
        else:
            self._pending += node.halves(tried)

    def _end(self, node: Node) -> None:
        side = self._side(node)
        self._reached[side] = min(self._reached[side], node.distance)


def _outward(node: Node) -> Any:
    return node.distance, node.start
