"""How numbers that must not be overstated are shown."""

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

LONGEST = Context(prec=400)
"""All digits of any float64, whatever the thread's own context is."""


def round_down(value: float, digits: int = 3) -> str:
    """The largest decimal of so many digits that is not above `value`, as text; "-" where the value is not finite."""
    return _rounded(value, digits, ROUND_FLOOR)


def round_up(value: float, digits: int = 3) -> str:
    """The smallest decimal of so many digits that is not below `value`, as text; "-" where the value is not finite."""
    return _rounded(value, digits, ROUND_CEILING)


def _rounded(value: float, digits: int, mode: str) -> str:
    if not math.isfinite(value):
        return "-"
    return str(Decimal(repr(float(value))).quantize(Decimal(1).scaleb(-digits), mode, LONGEST))
