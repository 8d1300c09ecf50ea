"""The families of noise by the names of their norms."""

from typing import Annotated

from pydantic import AfterValidator

from rddrs.noise.family import Family
from rddrs.noise.gaussian import Gaussian
from rddrs.noise.uniform import Uniform

FAMILIES: dict[str, Family] = {"l2": Gaussian(), "l1": Uniform()}
"""The family that certifies in each norm."""


def family_of(norm: str) -> Family:
    """The family that certifies in a norm; raises ValueError where there is none."""
    if norm not in FAMILIES:
        raise ValueError(f"norm={norm!r}: it must be one of {', '.join(FAMILIES)}")
    return FAMILIES[norm]


def _known(norm: str) -> str:
    family_of(norm)
    return norm


Norm = Annotated[str, AfterValidator(_known)]
"""The name of a norm that a family certifies in."""
