"""Searches from 0 outwards for where severities are certified no more: generators that ask for bounds and get them."""

import math
from bisect import bisect_left
from collections.abc import Callable, Generator, Mapping
from itertools import accumulate, takewhile
from typing import TypeVar

Rows = tuple[list[float], ...]
Search = Generator[Rows, Rows, float]
Key = TypeVar("Key")

NEAR = 1e-3
"""The search ends where it can gain no more than this share."""

FIRST, ROUNDS, CELLS = 1 / 64, 60, 6
"""The width of the first cell, in limits; how often cells are looked at, and how many together at most."""

DONE = 1 / 30
"""A round asks for cells until this share of the room would be left: what is known here says little of there."""

BESIDE = 1e-6
"""How far, as a share of it, the sides of a jump are from where it is expected."""

LEAST, TINY = 1e-9, 1e-300
"""Nothing below this share of the limit is looked at; and what stands for 0 in a quotient."""


def together(searches: Mapping[Key, Search], answers: Callable[[dict[Key, Rows]], dict[Key, Rows]]) -> dict[Key, float]:
    """What every search comes to; those that are not at their end are answered at the same time."""
    asked, found = {key: next(search) for key, search in searches.items()}, dict[Key, float]()
    while asked:
        for key, answer in answers(asked).items():
            try:
                asked[key] = searches[key].send(answer)
            except StopIteration as reached:
                found[key] = reached.value
                del asked[key]
    return found


def outwards(
    radius: float,
    limit: float,
    most_cells: int,
    *,
    order: float,
    finest: float,
    middle: bool,
    far: bool = False,
    jumps: float | None = None,
) -> Search:
    """Cells that follow one another, whose bounds exceed the length by their width to the power `order`.

    None is smaller than the share `finest` of its severities. Asks for the ends of cells, the nearer and the farther
    ones, and gets of each the bound and the length in its `middle`, or at its end. The first cells are equally wide or,
    with `far`, their ends are far from each other. The bound may jump as that of `reach` does.
    """
    reached, length, wall = 0.0, 0.0, math.inf
    ends = [0.0, FIRST * limit, 2 * FIRST * limit]
    if far:
        ends = [0.0, *(FIRST * limit * 4.0**power for power in range(min(most_cells, 3)))]
    for _ in range(ROUNDS):
        most, lengths = yield ends[:-1], ends[1:]
        certified = _kept(most, radius)
        if ends[certified] == limit or (
            certified == 0 and ends[1] <= 1.01 * max(finest * reached, LEAST * limit) + reached
        ):
            return ends[certified]
        # From the last cell that was looked at: how fast the length grows, and how far its bound is above it.
        last = min(certified, len(most) - 1)
        width = ends[last + 1] - ends[last]
        place = ends[last + 1] - (width / 2 if middle else 0.0)
        before = (reached, length)
        if last:
            before = (ends[last - 1] + ends[last]) / 2 if middle else ends[last], lengths[last - 1]
        speed = max(0.0, (lengths[last] - before[1]) / (place - before[0]))
        excess = max(0.0, most[last] - lengths[last] - speed * (ends[last + 1] - place)) / width**order
        reached, wall = ends[certified], ends[certified + 1] if certified < len(most) else wall
        length = lengths[last] + speed * (reached - place)
        widest, least = 32 * width if certified == len(most) else width / 4, max(finest * reached, LEAST * limit)
        if reached < wall:  # where a cell was not certified, only smaller ones may be
            if wall - reached <= least:
                break
            if jumps:
                before, after = _beside(reached, jumps)
                if reached < before and after < wall < reached + jumps:
                    ends = [reached, before, after]
                    continue
            widest = min(widest, (wall - reached) / min(most_cells, 4))
        widths, room = list[float](), max(0.0, radius - length)
        left = DONE * room
        while len(widths) < most_cells and (not widths or room > left):
            width = min(_width(0.9 * room, speed, excess, order), widest)
            if width <= least:
                break
            widths.append(width)
            room -= speed * width
        if not widths:
            if room <= speed * min(NEAR, finest) / 2 * reached:
                break
            widths = [least] * 3
        ends = list(accumulate(widths, initial=reached))
        ends = [*takewhile(lambda end: end < limit, ends), *([limit] if ends[-1] >= limit else [])]
    return reached


def _beside(severity: float, jumps: float) -> tuple[float, float]:
    """Both sides of the odd multiple of half of `jumps` that is nearest."""
    place = (math.floor(severity / jumps) + 0.5) * jumps
    return place * (1 - BESIDE), place * (1 + BESIDE)


def _kept(bounds: list[float], radius: float) -> int:
    """How many of them, from the first on, are below the radius."""
    return sum(1 for _ in takewhile(lambda bound: bound < radius, bounds))


def _width(room: float, speed: float, excess: float, order: float) -> float:
    """The w of which speed w + excess w^order is the room."""
    if order == 1:
        return room / (speed + excess) if speed + excess > 0 else math.inf
    first, second = (speed, excess) if order == 2 else (excess, speed)  # of w, or of its root
    both = first + math.sqrt(first**2 + 4 * second * room)
    return (2 * room / both) ** (1 if order == 2 else 2) if both > 0 else math.inf


def reach(radius: float, limit: float, count: int, jumps: float | None = None) -> Search:
    """Where a bound that never falls comes to the radius: by a power law, and in sections where that does not help.

    Asks for severities, and gets of each the bound of all that is between it and 0. It may jump at the odd multiples of
    half of `jumps`: both sides of the one that is nearest to where the radius is expected are asked for, too.
    """
    at, bounds, low, wide, stuck = [0.0], [0.0], 0.0, math.inf, False
    asked = [limit * 4.0**-power / max(1, 16 // count) for power in range(count - 1, -1, -1)]
    for turn in range(ROUNDS):
        (answered,) = yield (asked,)
        for severity, bound in zip(asked, answered, strict=True):
            place = bisect_left(at, severity)
            at.insert(place, severity)
            bounds.insert(place, bound)
        kept = _kept(bounds, radius)
        low, high = at[kept - 1], at[kept] if kept < len(at) else limit
        if high - low <= NEAR / 2 * low or high <= LEAST * limit:
            break
        # By which power the bound grows at the two that are known nearest to the radius, neither of them 0.
        last = min(max(kept, 2), len(at) - 1)
        grown = bounds[last] / max(bounds[last - 1], TINY)
        power = math.log(grown) / math.log(at[last] / at[last - 1]) if 1 < grown < math.inf else 1.0
        guess = at[last] * min(radius / max(bounds[last], TINY), 1e3) ** (1 / max(power, 0.01))  # no float overflows
        nearness = [2e-4 * 15.0**step for step in range(count // 2)] if count > 2 or turn else [0.02]
        asked = [guess * (1 + offset) for offset in [*(-each for each in reversed(nearness)), *nearness]]
        if jumps:
            asked = sorted([*asked, *_beside(guess if guess < high else high, jumps)])
        asked = [each for each in asked if low < each < high]
        stuck = not stuck and high - low > wide / 4
        if stuck or not asked:
            sections = range(1, count + 1)
            asked = [low + (high - low) * part / (count + 1) if low else high * 4.0**-part for part in sections]
            asked.sort()
        wide = high - low
        if kept == len(at):
            asked.append(limit)
    return low
