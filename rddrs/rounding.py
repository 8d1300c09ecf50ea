"""How numbers that must not be overstated are shown."""

import math
from decimal import ROUND_FLOOR, Decimal


def round_down(value: float, digits: int = 3) -> str:
    """The largest decimal of so many digits that is not above `value`, as text; "-" where the value is not finite."""
    if not math.isfinite(value):
        return "-"
    return str(Decimal(repr(float(value))).quantize(Decimal(1).scaleb(-digits), ROUND_FLOOR))
