"""Searches against functions of which the answer is known."""

import math

import pytest

from rddrs.certification.searches import outwards, reach, together


def ended(search, bound):
    """What a search comes to, and for how many numbers or cells it asked."""
    asked, count = next(search), 0
    while True:
        count += len(asked[0])
        try:
            asked = search.send(bound(*asked))
        except StopIteration as reached:
            return reached.value, count


@pytest.mark.parametrize("count", [2, 4, 8])
@pytest.mark.parametrize(
    ("bound", "exact"),
    [
        (lambda s: 17 * s, 1 / 17),
        (lambda s: math.hypot(min(100 * s, 0.9), 3 * s), math.sqrt(0.19) / 3),
        (lambda s: 0.3 * math.floor(50 * s), 4 / 50),
        (lambda s: 0.0 if s < 0.3 else math.nan, 0.3),
        (lambda s: 1e6 * s, 1e-6),
        (lambda s: 0.4 * s, 2.0),
        (lambda s: 0.9 + 1e-15 * s, 2.0),
    ],
)
def test_a_bound_that_never_falls_is_followed_to_the_radius(bound, exact, count):
    found, asked = ended(reach(1.0, 2.0, count), lambda at: ([bound(s) for s in at],))
    assert (1 - 1e-3) * exact <= found < exact or found == exact == 2.0
    assert asked < 60


@pytest.mark.parametrize("order", [0.5, 1, 2])
@pytest.mark.parametrize("exact", [1e-3, 0.1, 0.7, 3.0])
def test_cells_follow_one_another_to_where_the_length_is_the_radius(order, exact):
    """No cell that is certified leaves a gap, and none beyond the answer is."""
    certified = []

    def bound(near, far):
        middle = [(first + last) / 2 / exact for first, last in zip(near, far, strict=True)]
        lengths = middle if order < 2 else [last / exact for last in far]
        rise = [(last - first) / 2 / exact if order < 2 else 0.0 for first, last in zip(near, far, strict=True)]
        excess = [0.1 * ((last - first) / exact) ** order for first, last in zip(near, far, strict=True)]
        most = [sum(each) for each in zip(lengths, rise, excess, strict=True)]
        for first, last, each in zip(near, far, most, strict=True):
            if each >= 1:
                break
            assert first == (certified[-1] if certified else 0.0)
            certified.append(last)
        return most, lengths

    found, asked = ended(outwards(1.0, 1.0, 24, order=order, finest=1e-3, middle=order < 2), bound)
    assert found == (certified[-1] if certified else 0.0)
    assert found == 1.0 if exact > 1 else (1 - (1e-2 if order < 1 else 2e-3)) * exact <= found < exact
    assert asked < 150


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("step", [1 / 255, 1e-300])
def test_a_jump_that_is_the_end_is_found_where_it_is(count, step):
    """Every half step, all is rounded to the next one; and where there are jumps at any place it ends all the same."""
    found, asked = ended(reach(12.51 / 255, 2.0, count, step), lambda at: ([round(255 * s) / 255 for s in at],))
    assert 12.5 / 255 * (1 - (1e-5 if step > 1e-9 else 1e-3)) <= found <= 12.5 / 255
    assert asked < 40
    assert ended(reach(1.0, 2.0, count, step), lambda at: ([math.nan for _ in at],))[0] == 0.0


def test_cells_end_at_a_jump():
    """No cell beyond it is certified, and where it is known the end is found nearer to it."""

    def bound(near, far):
        return [round(255 * last) / 255 + (last - first) / 9 for first, last in zip(near, far, strict=True)], [*far]

    ends = [
        ended(outwards(12.51 / 255, 1.0, 6, order=2, finest=1e-3, middle=False, jumps=jumps), bound)
        for jumps in (None, 1 / 255)
    ]
    assert all((1 - 2e-3) * 12.5 / 255 <= end <= 12.5 / 255 for end, _ in ends)
    assert ends[1][0] >= 12.5 / 255 * (1 - 1e-4) and ends[1][1] <= ends[0][1]


@pytest.mark.parametrize("most_cells", [2, 6])
def test_what_is_flat_at_first_and_then_steep_is_followed_too(most_cells):
    """As a blur is: nothing at a tenth of the severity that is certified."""

    def bound(near, far):
        lengths = [math.exp(3 - 3 * 0.1 / last) for last in far]
        return [
            length + 5 * (last - first) ** 2 for first, last, length in zip(near, far, lengths, strict=True)
        ], lengths

    search = outwards(1.0, 1.0, most_cells, order=2, finest=1 / 3000, middle=False, far=True)
    found, asked = ended(search, bound)
    assert (1 - 1e-3) * 0.1 <= found < 0.1 and asked < 60


def test_searches_end_each_on_its_own():
    found = together(
        {limit: reach(1.0, limit, 4) for limit in (0.5, 2.0)},
        lambda asked: {key: ([it / key for it in at],) for key, (at,) in asked.items()},
    )
    assert found[0.5] == pytest.approx(0.5, rel=1e-3) and found[2.0] == pytest.approx(2.0, rel=1e-3)
