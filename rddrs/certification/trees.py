"""The cells of a path: how long each is, how dear, its halves, and where it has its anchor (METHOD section 14)."""

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from rddrs.certification.cells import Course, Hull, Ruler, Severities, needed
from rddrs.noise import Norm, Scale, Stream, family_of
from rddrs.smoothing import Question, least

LEAST_WIDTH, LEAST_GAIN = 2.0**-12, 0.05
"""No cell of this share of its axis is halved, nor one whose radius exceeds what halving cannot lower by no more."""

SHORTER = 0.9
"""Of rounded images alone halving a cell helps where it leaves no more of its reach."""

MOST_CERTAIN = 1 - 1e-6
"""No more probability than this is asked for."""

WORTH_IT = 1 - 1e-3
"""Where rounding makes a test ask for more it takes over ten thousand draws: shorter cells may have less of it, and of
rounded images alone they have."""

STEPS = torch.linspace(0, 1, 65, dtype=torch.float64)[:, None]
"""Where the polygon has its corners that says how long a path is."""


def images_of(
    course: Course, severities: Float[Tensor, "n q"], x: Float[Tensor, "*shape"], step: float | None
) -> Float[Tensor, "n *shape"]:
    """round(clip(T_s(x))) for every row s, in the precision of x; `step` is what is rounded to multiples of.

    Each is made alone: the last bits of an image, which decide its rounding, may depend on what is made with it.
    """
    return _stacked([course.points(row[None])[0] for row in severities], x, step)


def anchors_of(
    course: Course,
    low: Float[Tensor, "n q"],
    high: Float[Tensor, "n q"],
    x: Float[Tensor, "*shape"],
    grid: float | None,
    first: Iterable[Hull] | None = None,
) -> Float[Tensor, "n *shape"]:
    """The anchor of every cell: its image at the middle or, where images are rounded, the middle of its images.

    `first` are the hulls of the cells' first sub-cells, where they are made already.
    """
    if course.rounding is None:
        return images_of(course, (low + high) / 2, x, grid)
    return _stacked([it.middle for it in first or map(course.first, low, high)], x, grid)


def _stacked(points: list[Float[Tensor, " d"]], x: Float[Tensor, "*shape"], step: float | None) -> Tensor:
    if not points:
        return x.new_empty(0, *x.shape)
    found = torch.stack(points)
    found = found if step is None else step * (found / step).round()
    return found.to(x.dtype).view(-1, *x.shape)


def placed(anchor: Float[Tensor, "*shape"], grid: float | None) -> Float[Tensor, " d"]:
    """Where an anchor lies, float64: on a grid its exact place, which its own precision may not hold."""
    anchor = anchor.double().flatten()
    return anchor if grid is None else grid * (anchor / grid).round()


@lru_cache(maxsize=256)
def longest_radius(norm: Norm, base: float, alpha: float = 1e-7) -> float:
    """rho*: the radius above which a cell is halved without a draw, where a unit of length costs fewest draws.

    A cell of radius rho covers rho - `base` on either side and costs `least(P(rho), alpha)` draws where all of them are
    right; cells come by halving, so that their lengths are spread between a half of the longest and all of it. The
    least mean cost is at 0.9 where base, slack and rounding, is 0, and at 1.16 where it is 0.46 (0.055 at sigma 0.12):
    flat.
    """

    family = family_of(norm)

    def cost(reach: float) -> float:
        parts = [reach * part / 8 for part in (5, 6, 7, 8)]
        return sum(least(family.probability(base + part), alpha) / part for part in parts)

    reaches = [step / 20 for step in range(2, 31) if family.probability(base + step / 20) < MOST_CERTAIN]
    return base + min(reaches, key=cost, default=0.0)


class Node(NamedTuple):
    """A cell from `start` to `stop`: on each axis shares of the way to the `ends`, -1 the lower and 1 the upper."""

    ends: tuple[Severities, Severities]
    start: tuple[float, ...]
    stop: tuple[float, ...]
    tried: int = 0
    """How many cells that hold this one were asked about in vain."""
    whole: float = math.inf
    """The radius of the cell that this one is a half of."""
    rho: float = math.nan
    anchor: Any = None
    axis: int = 0
    dear: bool = False
    """Whether its halves are asked about at once, and not itself."""

    @property
    def distance(self) -> float:
        """How far the cell is from 0, as a share of the way to its ends."""
        return max(max(start, -stop, 0.0) for start, stop in zip(self.start, self.stop, strict=True))

    @property
    def width(self) -> float:
        """Of the axis to halve, as a share of the way to an end."""
        return self.stop[self.axis] - self.start[self.axis]

    @property
    def severities(self) -> tuple[Severities, Severities]:
        """The ends of the cell, the lower ones first."""
        axes = [*zip(*self.ends, self.start, self.stop, strict=True)]
        low = ((lower if start < 0 else upper) * abs(start) for lower, upper, start, _ in axes)
        return tuple(low), tuple((upper if stop > 0 else lower) * abs(stop) for lower, upper, _, stop in axes)

    def halves(self, tried: int) -> list["Node"]:
        """The two halves along the cell's axis, where it reaches over 0 those of either sign."""
        middle, at = (self.start[self.axis] + self.stop[self.axis]) / 2, self.axis
        start, stop = ((*ends[:at], middle, *ends[at + 1 :]) for ends in (self.start, self.stop))
        return [Node(self.ends, *half, tried, self.rho) for half in ((self.start, stop), (start, self.stop))]


class Tree:
    """What radius and anchor a cell of the path from `low` to `high` needs, and where it is halved."""

    def __init__(
        self,
        course: Course,
        low: Severities,
        high: Severities,
        x: Float[Tensor, "*shape"],
        scale: Scale,
        norm: Norm,
        slack: float,
        rounding: float | None,
        grid: float | None,
    ) -> None:
        self.family, self._course, self._ruler, self._x = family_of(norm), course, Ruler(scale, norm), x
        self._step, self._grid = rounding or grid, grid
        self.low, self.high, self.slack, self.base = low, high, slack, slack
        sides = self._sides()
        self._halved = 0.5 if course.unrounded else 0.5**0.5
        """What halving a cell leaves of its reach: of rounded images the number of entries that change is halved."""
        rounded = slack
        if rounding and len(sides) == 1:  # of a box light moves the ground in one half, and rounding all of it there
            rounded += self._rounded(sides[0], rounding)
            least = rounded if grid else (slack + rounded) / 2  # from the middle, of entries that stay where they are
            if course.unrounded and self.family.probability(longest_radius(norm, least)) < WORTH_IT:
                self.base = least
        self.longest = longest_radius(norm, self.base)
        self._limit = 2 * self.longest - self.base if len(sides) > 1 else self.longest
        if rounding and len(sides) == 1:
            self._limit = max(self._limit, min(longest_radius(norm, rounded), self.family.radius(WORTH_IT)))
        self.expected = self._expected(sides, None if course.unrounded else rounding)
        """About how many cells the path has, a power of two: the product of its lengths by that of a cell."""

    def _sides(self) -> list[Float[Tensor, "n d"]]:
        """The corners of a polygon along each axis, the other severity 0."""
        ends = torch.tensor([self.low, self.high], dtype=torch.float64, device=self._x.device)
        shares, axes = STEPS.to(ends), torch.eye(len(self.low), dtype=torch.float64, device=self._x.device)
        ways = (ends[0] + shares * (ends[1] - ends[0]))[:, None] * axes
        return [self._course.points(ways[:, axis]) for axis in range(len(axes))]

    def _rounded(self, side: Float[Tensor, "n d"], step: float) -> float:
        """How far rounding takes an image, at most, where it changes the entries that move, and no others."""
        moved = side.amax(dim=0) > side.amin(dim=0)
        return self._ruler.most(step / 2 * moved.double()[None]).item()

    def _expected(self, sides: list[Float[Tensor, "n d"]], step: float | None) -> int:
        """Of images that are all rounded an entry that moves by a changes a / `step` times, and by `step` each time.

        As much as cells of the least width cover is the most that counts of that.
        """
        cells, reach = 1.0, self.longest - self.base
        for side in sides:
            moved = side.diff(dim=0)
            length = self._ruler.length(moved).sum().item()
            if step and reach > 0:
                changes = self._ruler.most((step * moved.abs()).sqrt()).square().sum().item() / reach
                length = max(length, min(changes, 3 * reach / LEAST_WIDTH))
            cells *= max(1.0, length / (1.5 * reach) if reach > 0 else 1.0)
        return 1 << int(math.log2(cells))

    @property
    def sides(self) -> int:
        """On how many sides of 0 the path lies; a box lies on one."""
        return 1 if len(self.low) > 1 else sum(end != 0 for end in (*self.low, *self.high))

    @property
    def origin(self) -> Float[Tensor, "*shape"]:
        """The input, clipped and rounded."""
        zero = torch.zeros(1, len(self.low), dtype=torch.float64, device=self._x.device)
        return images_of(self._course, zero, self._x, self._step)[0]

    def measured(self, nodes: Sequence[Node]) -> list[Node]:
        """The nodes with their anchors, radii (infinite where too long), the axis to halve, and if they are dear."""
        low, high = (
            torch.tensor(ends, dtype=torch.float64, device=self._x.device)
            for ends in zip(*(node.severities for node in nodes), strict=True)
        )
        middles = (low + high) / 2
        first = [*map(self._course.first, low, high)] if self._course.rounding else None
        anchors = anchors_of(self._course, low, high, self._x, self._grid, first)
        places = torch.stack([placed(anchor, self._grid) for anchor in anchors])
        radii = self._ruler.up(
            needed(self._course, self._ruler, low, high, places, self._limit - self.slack, first) + self.slack
        )
        found = []
        for node, rho, anchor, *cell in zip(
            nodes, self._ruler.up(radii).tolist(), anchors, low, high, middles, strict=True
        ):
            axis, side = self._longest_side(node, *cell)
            node = node._replace(rho=rho, anchor=anchor, axis=axis)
            found.append(node._replace(dear=self._dear(node, side)))
        return found

    def _longest_side(self, node: Node, low: Tensor, high: Tensor, middle: Tensor) -> tuple[int, float]:
        """The axis, not of the least width yet, whose faces are farthest apart, middle to middle; of a box how far."""
        wide = [axis for axis in range(len(low)) if node.stop[axis] - node.start[axis] > LEAST_WIDTH]
        if len(wide) < 2:
            return wide[0] if wide else 0, math.inf
        faces = torch.stack(
            [
                torch.where(torch.arange(2, device=low.device) == axis, end, middle)
                for axis in (0, 1)
                for end in (low, high)
            ]
        )
        points = self._course.points(faces)
        side, axis = self._ruler.length(points[[1, 3]] - points[[0, 2]]).max(dim=0)
        return int(axis), side.item()

    def _dear(self, node: Node, side: float) -> bool:
        """Whether a cell takes more draws than its parts, if all are right: of a path where it is longer than rho*.

        Of one of rounded images it is where two halves take fewer draws, unless there are none, or the last halving
        hardly made it shorter: of light all of the ground changes at one severity. Of a box the parts are two,
        the longest side halved, or four of half the reach; sides count as if they stood at right angles. Where one that
        holds the cell was asked about in vain, too long is too long, as of a path.
        """
        path, rho, reach = len(node.start) == 1, node.rho, node.rho - self.slack
        quarter = self._halved * reach
        if path and rho <= self._limit and self._course.rounding:
            base = min(self.base, rho)
            cheaper = self._cost(rho) > 2 * self._cost(base + self._halved * (rho - base))
            return cheaper and reach < SHORTER * (node.whole - self.slack) and not self.ends_at(node)
        if path or node.tried or rho > self._limit:
            return rho > self.longest
        half = max(quarter, math.sqrt(max(0.0, reach**2 - 3 / 16 * side**2)))
        whole, two, four = (self._cost(self.slack + part) for part in (reach, half, quarter))
        return math.isinf(whole) or whole > min(2 * two, 4 * four)

    def _cost(self, rho: float) -> float:
        """How many draws, in units of log(1 / level), show a radius, if all are right."""
        probability = self.family.probability(rho)
        return -1 / math.log(probability) if probability < MOST_CERTAIN else math.inf

    def question(self, node: Node, stream: Stream, alpha: float) -> Question:
        """What is asked of a cell; where halving gains anything, its parts, of half its reach, could be instead."""
        base = min(self.base, node.rho)
        parts = 2 ** len(node.start), self.family.probability(base + self._halved * (node.rho - base))
        instead = None if self.ends_at(node) else parts
        return Question(stream, node.anchor, self.family.probability(node.rho), alpha, instead)

    def ends_at(self, node: Node) -> bool:
        """Whether halving the cell would gain nothing, so that the path ends here."""
        return node.width <= LEAST_WIDTH or node.rho - self.slack < LEAST_GAIN
