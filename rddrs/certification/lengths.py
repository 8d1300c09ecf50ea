"""How far the images of a cell of severities are from an input: bounds of |B^-1 (T_t(x) - x)| (METHOD section 13).

Where C is diagonal and entries never turn back, cells begin at 0, and the corner of the box of both ends is farthest;
where images hardly leave the chord from T_u(x) to T_v(x), one of its ends is, but for the bend; others lie in the box
of the cell, or in a ball. Clamped and rounded as the image is, entry by entry.
"""

from collections.abc import Sequence
from itertools import groupby

import torch
from jaxtyping import Float
from torch import Tensor

from rddrs.certification.regions import Region
from rddrs.threats import Change, Perturbation, stored
from rddrs.threats.blocks import Blocks
from rddrs.threats.change import column
from rddrs.threats.interpolation import Moved, moved_bends, moved_boxes, moved_points
from rddrs.threats.linear import Linear

Asked = tuple[Perturbation, Tensor]
"""Severities [1, n] of a perturbation, or the two ends of cells [2, n], the one that is nearer to 0 first."""

Cells = tuple[Perturbation, Tensor, Tensor]
"""A perturbation and the lower and upper ends, [n], of cells."""


def _on_lines(region: Region, it: Perturbation, severities: Float[Tensor, " n"]) -> Float[Tensor, "n *shape"]:
    """T_s(x); of what starts straight on its line, where that is known: up to 1."""
    x, change, s = region.x, it.function, column(severities, region.x[None])
    if isinstance(change, Linear):
        return torch.addcmul(x, s, region.direction(it))
    if isinstance(change, Change) and change.starts_straight and (severities.abs() <= 1).all():
        first, second = region.sides(it)
        return torch.addcmul(torch.addcmul(x, s.clamp_min(0), first), s.clamp_max(0), second, value=-1)
    return it.points(x, severities)


def _points(region: Region, asked: Sequence[Asked]) -> Float[Tensor, "n *shape"]:
    """T_s(x) of every perturbation at its severities; those of the same kind are made together."""
    x, found = region.x, list[Tensor]()
    for kind, same in groupby(asked, key=_kind):
        if kind is Moved:
            found.append(moved_points(x[None], [(_moved(it), s) for it, s in same]))
        else:
            found += [_on_lines(region, it, s) for it, s in same]
    return found[0] if len(found) == 1 else torch.cat(found)


def _kind(asked: Asked | Cells) -> type | None:
    return next((kind for kind in (Linear, Moved) if isinstance(asked[0].function, kind)), None)


def _moved(perturbation: Perturbation) -> Moved:
    assert isinstance(perturbation.function, Moved)
    return perturbation.function


def reaches(region: Region, asked: Sequence[Asked]) -> Float[Tensor, "1 n"]:
    """A bound of |B^-1 delta| from 0 to every severity, where C is diagonal and no entry ever turns back.

    No entry is then farther from x than at one of the two ends; nor is it once it is rounded, but for the error of what
    is computed here, `slack` at most, with which it may come to the multiple beyond.
    """
    x, (start, rounded) = region.x, region.start
    points = region.stored(torch.cat([_on_lines(region, it, severities) for it, (severities,) in asked]))
    away = points - x
    most = region.length(away if start is None else torch.maximum(away.abs(), start)) + region.error
    if region.rounding is None or not (rows := region.undecided(most)).any():
        return most[None]
    if not rows.all():
        points, away = points[rows], away[rows]
    beyond = points.add_(away.sign_(), alpha=region.slack)
    found = stored(beyond, rounding=region.rounding).sub_(x).abs_()
    found = region.length(torch.maximum(found, rounded, out=found)) + region.error
    return most.index_put((rows,), torch.maximum(most[rows], found))[None]


def _bends(region: Region, asked: Sequence[Cells]) -> Float[Tensor, "n *shape"]:
    x, found = region.x, list[Tensor]()
    for kind, same in groupby(asked, key=_kind):
        if kind is Moved:
            found.append(moved_bends(x[None], [(_moved(it), low, high) for it, low, high in same]))
        elif kind is Linear:
            found.append(x.new_zeros(()).expand(sum(len(low) for _, low, _ in same), *x.shape))
        else:
            found += [it.bends(x, *ends) for it, *ends in same]
    return torch.cat(found)


def along_chords(region: Region, asked: Sequence[Asked]) -> Float[Tensor, "2 n"]:
    """A bound of |B^-1 delta| over every cell, and the length at its far end, where images hardly leave their chords.

    A norm is on a chord largest at an end. What is within the slack of the range is as if it were not cut: neither an
    image nor its place on the chord is changed by more.
    """
    ends, places, count = list[Asked](), list[Tensor](), 0
    for it, cells in asked:
        severities, place = cells.unique(return_inverse=True)
        ends.append((it, severities))
        places.append(place + count)
        count += len(severities)
    points, places = _points(region, ends), torch.cat(places, dim=1)
    bends = 3 * region.slack + _bends(region, [(it, cells.amin(dim=0), cells.amax(dim=0)) for it, cells in asked])
    held = region.stored(points)
    lengths = region.lengths([(id(it), each) for it, severities in ends for each in severities.tolist()], held)[places]
    first, last = held[places]
    away, most = bends, lengths.amax(dim=0)
    if region.cut(points):  # where a chord is cut it has a bend: a share of what is cut off
        inner, outer = (last - first).abs(), (points - held).abs()[places].sum(dim=0)
        away = away + inner * outer / (inner + outer).clamp_min(torch.finfo(inner.dtype).tiny)
    most = most + region.spread(away)
    if region.rounding is not None:
        lower, upper = torch.minimum(first, last) - bends, torch.maximum(first, last) + bends
        most = region.also_rounded(most, region.stored(lower), region.stored(upper))
    return torch.stack([most, lengths[1]])


def boxed(region: Region, asked: Sequence[Asked]) -> Float[Tensor, "2 n"]:
    """A bound of |B^-1 delta| over every cell, and the length of the middle of its box of displacements delta."""
    x, boxes = region.x, []
    for kind, same in groupby([(it, cells.amin(dim=0), cells.amax(dim=0)) for it, cells in asked], key=_kind):
        if kind is Moved:
            boxes.append(moved_boxes(x[None], [(_moved(it), low, high) for it, low, high in same]))
        else:
            boxes += [it.boxes(x, *ends) for it, *ends in same]
    lower, upper = (torch.cat(ends) for ends in zip(*boxes, strict=True))
    lower, upper = region.stored(lower - region.slack), region.stored(upper + region.slack)
    centre = (lower + upper) / 2 - x
    if region.diagonal:
        most, length = region.longest((lower, upper)), region.length(centre)
    else:
        most, length = region.around(centre, (upper - lower) / 2)
    return torch.stack([region.also_rounded(most, lower, upper), length])


def in_balls(region: Region, asked: Sequence[Asked]) -> Float[Tensor, "2 n"]:
    """As `boxed`, where more is known of all entries together than of each."""
    found = []
    for it, cells in asked:
        change, ends = it.function, (cells.amin(dim=0), cells.amax(dim=0))
        blocks = isinstance(change, Blocks)
        centres, radii = change.around(region.coefficients, *ends) if blocks else it.balls(region.x, *ends)
        length = region.length(region.stored(centres) - region.x)
        found.append(torch.stack([length + region.ball(radii), length]))
    return torch.cat(found, dim=1)
