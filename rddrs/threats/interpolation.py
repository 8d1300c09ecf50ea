"""Changes that move the image: linear interpolation at source points that move with the severity, zeros outside.

Within a cell of the pixel grid the interpolant is bilinear: its slope along an axis is at most the larger of the
differences along the cell's two edges. An entry varies by at most that, the largest of the cells that its source point
can reach, times the way of the point; and no more than the values there differ. On a straight way within one cell it is
a parabola, which leaves its chord by a quarter of what the slope along one axis changes by along the other.
"""

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from rddrs.threats.change import Boxed, Mean

Places = Float[Tensor, "n _ _"]
"""One number for each pixel, or one for each row or column where it is the same for all of it: they broadcast."""


class Moved(Boxed, Mean):
    """The value of the image at the source point of every pixel."""

    straight = True

    @abstractmethod
    def sources(self, size: Sequence[int], severities: Float[Tensor, " n"]) -> tuple[Places, Places]:
        """The row and the column that each pixel's value comes from."""

    @abstractmethod
    def ways(
        self, size: Sequence[int], low: Float[Tensor, " n"], high: Float[Tensor, " n"], middles: tuple[Places, Places]
    ) -> tuple[Places, Places]:
        """How far, in rows and in columns, sources come in the cell [low, high] from those at its middle, `middles`."""

    @abstractmethod
    def gaps(self, size: Sequence[int], low: Float[Tensor, " n"], high: Float[Tensor, " n"]) -> Places:
        """How far along either axis sources are in the cell from their place on the straight way between its ends."""

    def points(self, x: Float[Tensor, "m *shape"], severities: Float[Tensor, " n"]) -> Float[Tensor, "n *shape"]:
        return _interpolated(x, *self.sources(x.shape[-2:], severities))

    def boxes(
        self, x: Float[Tensor, "m *shape"], low: Float[Tensor, " n"], high: Float[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n *shape"], Float[Tensor, "n *shape"]]:
        return moved_boxes(x, [(self, low, high)])

    def bends(self, x: Float[Tensor, "m *shape"], low: Float[Tensor, " n"], high: Float[Tensor, " n"]) -> Tensor:
        return moved_bends(x, [(self, low, high)])


Cells = tuple[Moved, Tensor, Tensor]
"""A change and the lower and upper ends, [n], of its cells; those of several changes are looked at together."""


def moved_points(x: Float[Tensor, "m *shape"], asked: Sequence[tuple[Moved, Tensor]]) -> Float[Tensor, "n *shape"]:
    """The `points` of each change at its severities."""
    size = x.shape[-2:]
    return _interpolated(x, *_joined([it.sources(size, severities) for it, severities in asked], size))


def moved_boxes(
    x: Float[Tensor, "m *shape"], asked: Sequence[Cells]
) -> tuple[Float[Tensor, "n *shape"], Float[Tensor, "n *shape"]]:
    """The `boxes` of each change in its cells."""
    size = x.shape[-2:]
    middles, spans = _spans(asked, size)
    ways = [torch.maximum(most - place, place - least)[:, None] for least, place, most in spans]
    level, cells = _reached(spans, size)
    tables = _steepest(x, int(level.max()))
    middle, (down, across, *values) = _interpolated(x, *middles), (_taken(table, cells) for table in tables)
    variation = down * ways[0] + across * ways[1]
    least, most = middle - variation, middle + variation
    return (torch.maximum(least, -values[1]), torch.minimum(most, values[0])) if values else (least, most)


def moved_bends(x: Float[Tensor, "m *shape"], asked: Sequence[Cells]) -> Float[Tensor, "n *shape"]:
    """The `bends` of each change in its cells."""
    size = x.shape[-2:]
    first, last = (
        _joined([it.sources(size, severities) for (it, *_), severities in zip(asked, ends, strict=True)], size)
        for ends in zip(*((low, high) for _, low, high in asked), strict=True)
    )
    steps = [(end - start).abs()[:, None] for start, end in zip(first, last, strict=True)]
    _, spans = _spans(asked, size)
    level, cells = _reached(spans, size)
    down, across = (_taken(table, cells) for table in _steepest(x, int(level.max()))[:2])
    # Where slopes change on the way, its two halves may go up and down; beyond the edges all is 0.
    bend = (down * steps[0] + across * steps[1]) / 2
    within, inside = level == 0, torch.ones_like(level, dtype=torch.bool)
    for (least, _, most), length in zip(spans, size, strict=True):
        within &= (least > -1) & (most < length)
        inside &= (least < length) & (most > -1)
    saddles = pad(x, (1, 1, 1, 1)).diff(dim=2).diff(dim=3).abs().flatten(2)
    bend = torch.where(within[:, None], _taken(saddles, torch.where(within, cells, 0)) * steps[0] * steps[1] / 4, bend)
    gaps = torch.cat([it.gaps(size, low, high).expand(-1, *size) for it, low, high in asked])
    return (bend + (down + across) * gaps[:, None]) * inside[:, None]


def _joined(places: Sequence[tuple[Tensor, Tensor]], size: Sequence[int]) -> tuple[Tensor, Tensor]:
    if len(places) == 1:
        return places[0]
    rows, columns = (torch.cat([it.expand(-1, *size) for it in each]) for each in zip(*places, strict=True))
    return rows, columns


def _spans(
    asked: Sequence[Cells], size: Sequence[int]
) -> tuple[tuple[Places, Places], list[tuple[Places, Places, Places]]]:
    """The sources at the middles of cells, and along both axes from where to where they come, and these, in the image.

    Zeros begin at -1 and the length.
    """
    places = [it.sources(size, (low + high) / 2) for it, low, high in asked]
    ways = [it.ways(size, low, high, middles) for (it, low, high), middles in zip(asked, places, strict=True)]
    middles = _joined(places, size)
    return middles, [
        ((place - way).clamp(-1, length), place.clamp(-1, length), (place + way).clamp(-1, length))
        for place, way, length in zip(middles, _joined(ways, size), size, strict=True)
    ]


def _reached(
    spans: list[tuple[Places, Places, Places]], size: Sequence[int]
) -> tuple[Int[Tensor, "n h w"], Int[Tensor, "n h w"]]:
    """The level of which 2^level by 2^level grid cells hold them, and the place of these in tables of all levels."""
    starts = [least.floor().clamp_max(length - 1) for (least, _, _), length in zip(spans, size, strict=True)]
    counts = [(most.ceil() - start).clamp_min(1) for (_, _, most), start in zip(spans, starts, strict=True)]
    count, (row, column) = torch.maximum(*counts), (start.long() + 1 for start in starts)
    level, most = torch.zeros_like(count, dtype=torch.long), float(count.max())
    for power in range(math.ceil(math.log2(most))):
        level += count > 1 << power
    return level, (level * (size[0] + 1) + row) * (size[1] + 1) + column


def _interpolated(x: Float[Tensor, "m c h w"], rows: Places, columns: Places) -> Float[Tensor, "n c h w"]:
    """The values of the images at these places."""
    height, width = x.shape[-2:]
    (row, below), (column, right) = _split(rows, height), _split(columns, width)
    nodes, first = pad(x, (1, 1, 1, 1)).flatten(2), row * (width + 2) + column
    upper, lower = (
        torch.lerp(_taken(nodes, start), _taken(nodes, start + 1), right[:, None])
        for start in (first, first + width + 2)
    )
    return torch.lerp(upper, lower, below[:, None])


def _split(place: Places, length: int) -> tuple[Int[Tensor, "n h w"], Places]:
    """The grid cell of a place, numbered from -1 as 0, and what is beyond its start; zeros begin at -1 and `length`."""
    place = place.clamp(-1, length)
    start = place.floor().clamp_max(length - 1)
    return start.long() + 1, place - start


def _taken(values: Float[Tensor, "m c p"], places: Int[Tensor, "n h w"]) -> Float[Tensor, "n c h w"]:
    """values[i, c, places[i]], of one input or of many."""
    found = values.expand(len(places), -1, -1).gather(2, places.flatten(1)[:, None].expand(-1, values.shape[1], -1))
    return found.unflatten(2, places.shape[1:])


def _steepest(x: Float[Tensor, "m c h w"], levels: int) -> list[Float[Tensor, "m c p"]]:
    """The largest slope down and across of the 2^level by 2^level grid cells from each one on, levels 0 .. `levels`.

    Where more than a few cells are reached, the largest of the values and of the negative values, too.
    """
    nodes = pad(x, (1, 1, 1, 1))
    down, across = nodes.diff(dim=2).abs(), nodes.diff(dim=3).abs()
    tables = [torch.maximum(down[..., :-1], down[..., 1:]), torch.maximum(across[..., :-1, :], across[..., 1:, :])]
    if levels > 1:
        for values in (nodes, -nodes):
            sides = torch.maximum(values[..., :-1], values[..., 1:])
            tables.append(torch.maximum(sides[..., :-1, :], sides[..., 1:, :]))
    return [torch.stack(_widened(table, levels), dim=2).flatten(2) for table in tables]


def _widened(table: Float[Tensor, "m c rows columns"], levels: int) -> list[Tensor]:
    """The largest over 2^level by 2^level places from each one on, as far as there are any."""
    found = [table]
    for level in range(levels):
        last, width = found[-1], 1 << level
        for axis in (2, 3):
            if width < (length := table.shape[axis]):
                kept, later = last.narrow(axis, 0, length - width), last.narrow(axis, width, length - width)
                last = torch.cat([torch.maximum(kept, later), last.narrow(axis, length - width, width)], dim=axis)
        found.append(last)
    return found


def _centred(size: Sequence[int], like: Tensor) -> tuple[Tensor, Tensor, float, float]:
    """The rows, [h, 1], and the columns, [w], counted from the centre, and the centre's row and column."""
    middle, centre = ((length - 1) / 2 for length in size)
    rows, columns = (torch.arange(length, dtype=like.dtype, device=like.device) for length in size)
    return rows[:, None] - middle, columns - centre, middle, centre


class Rotation(Moved):
    """Turns the image by s degrees about its centre."""

    def sources(self, size: Sequence[int], severities: Float[Tensor, " n"]) -> tuple[Places, Places]:
        rows, columns, middle, centre = _centred(size, severities)
        angle = severities.deg2rad()[:, None, None]
        return (
            middle + angle.cos() * rows + angle.sin() * columns,
            centre + angle.cos() * columns - angle.sin() * rows,
        )

    def ways(
        self, size: Sequence[int], low: Float[Tensor, " n"], high: Float[Tensor, " n"], middles: tuple[Places, Places]
    ) -> tuple[Places, Places]:
        rows, columns, middle, centre = _centred(size, low)
        from_rows, from_columns = middles
        half = ((high - low) / 2).deg2rad()[:, None, None]
        distance = torch.hypot(rows, columns)
        # A point turns at right angles to the line from the centre: its speed at the middle, and its acceleration.
        return (
            torch.minimum(half * (from_columns - centre).abs() + half**2 / 2 * distance, half * distance),
            torch.minimum(half * (from_rows - middle).abs() + half**2 / 2 * distance, half * distance),
        )

    def gaps(self, size: Sequence[int], low: Float[Tensor, " n"], high: Float[Tensor, " n"]) -> Places:
        rows, columns, _, _ = _centred(size, low)
        half = ((high - low) / 2).deg2rad()[:, None, None]
        return half**2 / 2 * torch.hypot(rows, columns)  # an eighth of the square of the cell's width in radians


class Shift(Moved):
    """Moves the image s pixels to the right."""

    starts_straight = True

    def sources(self, size: Sequence[int], severities: Float[Tensor, " n"]) -> tuple[Places, Places]:
        rows, columns = (torch.arange(length, dtype=torch.float64, device=severities.device) for length in size)
        return rows[:, None].expand(len(severities), -1, 1), columns - severities[:, None, None]

    def ways(
        self, size: Sequence[int], low: Float[Tensor, " n"], high: Float[Tensor, " n"], middles: tuple[Places, Places]
    ) -> tuple[Places, Places]:
        half = ((high - low) / 2)[:, None, None]
        return torch.zeros_like(half), half

    def gaps(self, size: Sequence[int], low: Float[Tensor, " n"], high: Float[Tensor, " n"]) -> Places:
        return low.new_zeros(len(low), 1, 1)


class ShiftDown(Shift):
    """Moves the image s pixels down."""

    def sources(self, size: Sequence[int], severities: Float[Tensor, " n"]) -> tuple[Places, Places]:
        columns, rows = super().sources(size[::-1], severities)
        return rows.mT, columns.mT

    def ways(
        self, size: Sequence[int], low: Float[Tensor, " n"], high: Float[Tensor, " n"], middles: tuple[Places, Places]
    ) -> tuple[Places, Places]:
        columns, rows = super().ways(size, low, high, middles)
        return rows, columns


class Zoom(Moved):
    """Enlarges the image about its centre by the factor 1 + s."""

    def sources(self, size: Sequence[int], severities: Float[Tensor, " n"]) -> tuple[Places, Places]:
        rows, columns, middle, centre = _centred(size, severities)
        factor = 1 / (1 + severities).clamp_min(1e-9)[:, None, None]  # -1 leaves a point
        return middle + factor * rows, centre + factor * columns

    def ways(
        self, size: Sequence[int], low: Float[Tensor, " n"], high: Float[Tensor, " n"], middles: tuple[Places, Places]
    ) -> tuple[Places, Places]:
        rows, columns = (
            torch.maximum((first - middle).abs(), (last - middle).abs())
            for first, middle, last in zip(self.sources(size, low), middles, self.sources(size, high), strict=True)
        )
        return rows, columns

    def gaps(self, size: Sequence[int], low: Float[Tensor, " n"], high: Float[Tensor, " n"]) -> Places:
        # An eighth of the square of the width times the second derivative of the factor, which is largest at `low`.
        rows, columns, _, _ = _centred(size, low)
        factor = (1 + low).clamp_min(1e-9)[:, None, None]
        width = (high - low)[:, None, None]
        bent = torch.minimum(width**2 / factor**3 / 4, 1 / factor)
        return bent * torch.maximum(rows.abs(), columns.abs())
