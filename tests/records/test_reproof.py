"""What a record says of the worth of C, against the answers that were counted again, or against none."""

from typing import Any

import pytest

from rddrs.records import possible_worth_differences, worth, worth_differences
from rddrs.smoothing import Fidelity

MEASURED = Fidelity(60 / 70, 66 / 70, 70, (30 / 70, 25 / 70, 15 / 70))


def answers(right: int, standard: int = 66, first: int = 30) -> dict[str, Any]:
    """What a record states of other answers."""
    shares = (first / 70, 25 / 70, (45 - first) / 70)
    return {**worth(Fidelity(right / 70, standard / 70, 70, shares)), "radius": 1.0}


def wrong(stated: dict[str, Any], **options: Any) -> set[str]:
    return {it.column for it in worth_differences(3, stated, MEASURED, **options)}


def possible(stated: dict[str, Any], **options: Any) -> set[str]:
    return {it.column for it in possible_worth_differences(3, stated, MEASURED.baseline, 70, **options)}


LIES: list[dict[str, Any]] = [
    {"fidelity_low": 0.9},
    {"fidelity_high": 9.0},
    {"fidelity": 0.93217},
    {"preferred_share": 0.4321},
]


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("tolerance", [0, 2, 1000])
def test_whatever_the_tolerance_a_value_is_one_of_some_answers_and_the_others_follow(lie, tolerance):
    stated = answers(60) | lie
    assert set(lie) & wrong(stated, tolerance=tolerance)
    assert set(lie) & wrong(stated, tolerance=tolerance, believed=True)
    assert set(lie) & possible(stated, tolerance=tolerance)
    assert set(lie) & possible(stated, tolerance=tolerance, believed=True)


def test_so_many_answers_may_be_others_and_no_more():
    assert not wrong(answers(60)) and not wrong(answers(58, 65, 31), tolerance=2)
    assert wrong(answers(58), tolerance=1) == {"fidelity", "fidelity_low", "fidelity_high"}
    assert "preferred_share" in wrong(answers(60, first=33), tolerance=2)
    assert wrong(answers(60) | {"preferred_class": 2}, tolerance=2) == {"preferred_class"}
    assert wrong(answers(60) | {"preferred_class": 9}, tolerance=1000) == {"preferred_class"}
    assert wrong({}) == {"fidelity", "fidelity_low", "fidelity_high", "preferred_class", "preferred_share"}


def test_an_accuracy_that_is_believed_leaves_the_answers_under_c_to_be_measured():
    assert wrong(answers(60, 50)) and possible(answers(60, 50))
    assert not wrong(answers(60, 50), believed=True) and not possible(answers(60, 50), believed=True)
    assert "fidelity_low" in wrong(answers(50, 50), believed=True), "1, of fewer right answers"
    assert not possible(answers(50, 66)), "which nobody counted"


def test_nothing_that_is_no_number_or_of_no_answers_is_possible():
    for value in (None, "1", -0.1, 71.0, float("nan")):
        assert "fidelity" in wrong(answers(60) | {"fidelity": value}, tolerance=5)
        assert possible(answers(60) | {"fidelity": value}) == {"fidelity"}
    assert not wrong({**worth(Fidelity(2 / 70, 0.0, 70, MEASURED.distribution))}, tolerance=1000)
