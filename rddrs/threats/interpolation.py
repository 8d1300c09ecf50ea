"""Changes that move the image: linear interpolation at source points that move with the severity, zeros outside.

Within a cell of the pixel grid the interpolant is bilinear: its slope along an axis is at most the larger of the
differences along the cell's two edges. An entry varies by at most that, the largest of the cells that its source point
can reach, times the way of the point; and no more than the values there differ.
"""

from abc import abstractmethod

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from rddrs.threats.change import Mean

Places = Float[Tensor, "n rows columns"]


class Moved(Mean):
    """The value of the image at the source point of every pixel."""

    @abstractmethod
    def sources(self, size: tuple[int, int], severities: Float[Tensor, " n"]) -> tuple[Places, Places]:
        """The row and the column that each pixel's value comes from."""

    @abstractmethod
    def ways(
        self, size: tuple[int, int], low: Float[Tensor, " n"], high: Float[Tensor, " n"]
    ) -> tuple[Places, Places]:
        """How far, in rows and in columns, sources come in the cell [low, high] from where they are at its middle."""

    def points(self, x: Float[Tensor, "m *shape"], severities: Float[Tensor, " n"]) -> Float[Tensor, "n *shape"]:
        size = x.shape[-2:]
        places = self.sources(size, severities)
        (row, below), (column, right) = (_split(place, length) for place, length in zip(places, size, strict=True))
        nodes = pad(x, (1, 1, 1, 1)).flatten(2)
        first = row * (size[1] + 2) + column
        upper, lower = (
            torch.lerp(_taken(nodes, start), _taken(nodes, start + 1), right[:, None])
            for start in (first, first + size[1] + 2)
        )
        return torch.lerp(upper, lower, below[:, None])

    def variations(
        self, x: Float[Tensor, "m *shape"], low: Float[Tensor, " n"], high: Float[Tensor, " n"]
    ) -> Float[Tensor, "n *shape"]:
        return self.cells(x, low, high)[1]

    def cells(
        self, x: Float[Tensor, "m *shape"], low: Float[Tensor, " n"], high: Float[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n *shape"], Float[Tensor, "n *shape"]]:
        size, middle = x.shape[-2:], (low + high) / 2
        found = self.points(x, middle)
        starts, ways, reached = [], [], []
        for place, way, length in zip(self.sources(size, middle), self.ways(size, low, high), size, strict=True):
            place = place.clamp(-1, length)
            least, most = (place - way).clamp_min(-1), (place + way).clamp_max(length)
            start = least.floor().clamp(-1, length - 1)
            starts.append(start.long() + 1)
            ways.append(torch.maximum(most - place, place - least)[:, None])
            reached.append((most.ceil() - start).clamp_min(1))
        level = torch.maximum(*reached).log2().ceil().long()
        steps = _steepest(x, int(level.max()))
        cells = (level * (size[0] + 1) + starts[0]) * (size[1] + 1) + starts[1]
        down, across, top, bottom = _taken(steps, cells).unflatten(1, (4, -1)).unbind(1)
        slope = down * ways[0] + across * ways[1]
        return found, torch.minimum(slope, torch.maximum(top - found, found + bottom))


def _split(place: Places, length: int) -> tuple[Int[Tensor, "n h w"], Places]:
    """The grid cell of a place, numbered from -1 as 0, and what is beyond its start; zeros begin at -1 and `length`."""
    place = place.clamp(-1, length)
    start = place.floor().clamp_max(length - 1)
    return start.long() + 1, place - start


def _taken(values: Float[Tensor, "m c p"], places: Int[Tensor, "n h w"]) -> Float[Tensor, "n c h w"]:
    """values[i, c, places[i]], of one input or of many."""
    if len(values) == 1:
        return values[0][:, places].movedim(1, 0)
    found = values.gather(2, places.flatten(1)[:, None].expand(-1, values.shape[1], -1))
    return found.unflatten(2, places.shape[1:])


def _steepest(x: Float[Tensor, "m c h w"], levels: int) -> Float[Tensor, "m c4 p"]:
    """Of the grid cells from each on, 2^level of them along both axes: the largest slopes, value, and negative value.

    Levels 0 .. `levels`, one after the other.
    """
    nodes = pad(x, (1, 1, 1, 1))
    down, across = nodes.diff(dim=2).abs(), nodes.diff(dim=3).abs()
    corners = [torch.maximum(side[..., :-1, :], side[..., 1:, :]) for side in (nodes, -nodes)]
    down = torch.maximum(down[..., :-1], down[..., 1:])
    across = torch.maximum(across[..., :-1, :], across[..., 1:, :])
    top, bottom = (torch.maximum(side[..., :-1], side[..., 1:]) for side in corners)
    found = [torch.cat([down, across, top, bottom], dim=1)]
    for level in range(levels):
        found.append(found[-1].clone())
        for axis, length in ((2, x.shape[2] + 1), (3, x.shape[3] + 1)):
            if (width := 1 << level) < length:
                first = found[-1].narrow(axis, 0, length - width)
                torch.maximum(first, found[-1].narrow(axis, width, length - width).clone(), out=first)
    return torch.stack(found, dim=2).flatten(2)


def _centred(size: tuple[int, int], like: Tensor) -> list[Tensor]:
    """The rows, [h, 1], and columns, [w], as far as they are from the centre, and the two centres."""
    (rows, middle), (columns, centre) = (
        (torch.arange(length, dtype=torch.float64, device=like.device) - (length - 1) / 2, (length - 1) / 2)
        for length in size
    )
    return [rows[:, None], columns, middle, centre]  # pyright: ignore[reportReturnType]


class Rotation(Moved):
    """Turns the image by s degrees about its centre."""

    def sources(self, size: tuple[int, int], severities: Float[Tensor, " n"]) -> tuple[Places, Places]:
        rows, columns, middle, centre = _centred(size, severities)
        angle = severities.deg2rad()[:, None, None]
        return (
            middle + angle.cos() * rows + angle.sin() * columns,
            centre + angle.cos() * columns - angle.sin() * rows,
        )

    def ways(
        self, size: tuple[int, int], low: Float[Tensor, " n"], high: Float[Tensor, " n"]
    ) -> tuple[Places, Places]:
        rows, columns, middle, centre = _centred(size, low)
        from_rows, from_columns = self.sources(size, (low + high) / 2)
        half = ((high - low) / 2).deg2rad()[:, None, None]
        distance = torch.hypot(rows, columns)
        # A point turns at right angles to the line from the centre: its speed at the middle, and its acceleration.
        return tuple(
            torch.minimum(half * speed.abs() + half**2 / 2 * distance, half * distance)
            for speed in (from_columns - centre, from_rows - middle)
        )  # pyright: ignore[reportReturnType]


class Shift(Moved):
    """Moves the image s pixels to the right."""

    def sources(self, size: tuple[int, int], severities: Float[Tensor, " n"]) -> tuple[Places, Places]:
        rows, columns = (torch.arange(length, dtype=torch.float64, device=severities.device) for length in size)
        return (
            rows[:, None].expand(len(severities), *size),
            (columns - severities[:, None, None]).expand(-1, *size),
        )

    def ways(
        self, size: tuple[int, int], low: Float[Tensor, " n"], high: Float[Tensor, " n"]
    ) -> tuple[Places, Places]:
        half = ((high - low) / 2)[:, None, None].expand(-1, *size)
        return torch.zeros_like(half), half


class Zoom(Moved):
    """Enlarges the image about its centre by the factor 1 + s."""

    def sources(self, size: tuple[int, int], severities: Float[Tensor, " n"]) -> tuple[Places, Places]:
        rows, columns, middle, centre = _centred(size, severities)
        factor = 1 / (1 + severities).clamp_min(1e-9)[:, None, None]  # -1 leaves a point
        return (middle + factor * rows).expand(-1, *size), (centre + factor * columns).expand(-1, *size)

    def ways(
        self, size: tuple[int, int], low: Float[Tensor, " n"], high: Float[Tensor, " n"]
    ) -> tuple[Places, Places]:
        middles = self.sources(size, (low + high) / 2)
        ends = zip(self.sources(size, low), self.sources(size, high), strict=True)
        return tuple(
            torch.maximum((first - middle).abs(), (last - middle).abs())
            for (first, last), middle in zip(ends, middles, strict=True)
        )  # pyright: ignore[reportReturnType]
