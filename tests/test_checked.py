"""What the suite checks of the calls of the library: types and sizes, of arguments and of what is returned."""

import pytest
import torch
from beartype import beartype
from beartype.roar import BeartypeCallHintParamViolation, BeartypeCallHintReturnViolation
from jaxtyping import Float
from torch import Tensor

from rddrs.noise.precision import rounds_products
from rddrs.rounding import round_down
from tests.checked import EVERY, FIRST, checked


@checked(typechecker=beartype)
def both(x: Float[Tensor, " n"], y: Float[Tensor, " n"], count: int = 3) -> Float[Tensor, " n"]:
    return (x + y)[:count]


@checked(typechecker=beartype)
def twice(x: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    @checked(typechecker=beartype)
    def inner(y: Float[Tensor, " n"]) -> Float[Tensor, " n"]:  # its n is another
        return y.repeat(2)[: len(y)]

    assert len(inner(torch.zeros(5))) == 5
    return both(x, x)


def test_sizes_are_one_in_a_call_and_another_in_the_next():
    for size in (3, 2, 1):
        assert len(both(torch.zeros(size), torch.zeros(size))) == len(twice(torch.zeros(size))) == size
    with pytest.raises(BeartypeCallHintParamViolation, match="y="):
        both(torch.zeros(3), torch.zeros(1))
    with pytest.raises(BeartypeCallHintReturnViolation):
        both(torch.zeros(4), torch.zeros(4))
    with pytest.raises(BeartypeCallHintReturnViolation):
        twice(torch.zeros(4))
    assert len(both(torch.zeros(2), torch.zeros(2))) == 2, "after a call that failed"


def test_kinds_are_checked_with_arrays_or_without():
    with pytest.raises(BeartypeCallHintParamViolation):
        both(torch.zeros(3), torch.zeros(3), "3")  # pyright: ignore
    with pytest.raises(BeartypeCallHintParamViolation):
        both(torch.zeros(3, dtype=torch.int64), torch.zeros(3))
    with pytest.raises(BeartypeCallHintParamViolation):
        round_down("0.5")  # pyright: ignore
    with pytest.raises(BeartypeCallHintParamViolation):
        rounds_products("x")  # pyright: ignore


def test_the_first_calls_of_a_test_are_checked_and_now_and_then_one_of_the_others():
    refused = []
    for turn in range(1, 3 * EVERY + 1):
        try:
            both(torch.zeros(3), torch.zeros(1))
        except BeartypeCallHintParamViolation:
            refused.append(turn)
    assert refused == [*range(1, FIRST + 1), EVERY, 2 * EVERY, 3 * EVERY]


def test_nothing_is_checked_where_it_is_left_out(shapes_unchecked):
    assert len(both(torch.zeros(3), torch.zeros(1))) == 3
