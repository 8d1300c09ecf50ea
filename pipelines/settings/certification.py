"""The settings of certification: the library's own terms, and how the work is done."""

import math
from contextlib import suppress
from dataclasses import fields
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, StrictBool, StrictFloat, field_validator, model_validator
from pydantic.dataclasses import dataclass

from rddrs.certification import Demand, Terms
from rddrs.certification.terms import Count


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class Certify(Demand):
    """What is asked of the certificates; the rest of their terms follows from the data."""

    grid: float | Literal["auto"] | None
    clamp: tuple[float, float] | Literal["auto"] | None
    rounding: float | Literal["auto"] | None
    paths: dict[str, StrictFloat | list[StrictFloat]]
    path_unrounded: StrictBool = True  # since 0.19.0: runs before it say nothing of it
    path_regions: StrictBool = True  # since 0.21.0
    path_samples: Count
    path_budget: Count | None = None  # since 0.11.0: runs before it say nothing of it
    path_slack: Annotated[float, Field(strict=True, ge=0)]
    mode: Literal["per_input", "memory"]
    batch: Count | None
    workers: Count | None

    def terms(
        self, *, grid: float | None, clamp: tuple[float, float] | None, rounding: float | None, seed: int
    ) -> Terms:
        """The terms of a certificate, with what the data make of `auto`."""
        asked = {each.name: getattr(self, each.name) for each in fields(Demand)}
        return Terms(**asked, grid=grid, clamp=clamp, rounding=rounding, seed=seed)

    @field_validator("samples", "selection_samples", "path_samples", "path_budget", "batch", "workers", mode="before")
    @classmethod
    def whole(cls, value: Any) -> Any:
        """1e5 is a whole number."""
        return int(value) if isinstance(value, float) and value.is_integer() else value

    @field_validator("grid", "rounding", mode="plain")
    @classmethod
    def step(cls, value: Any) -> Any:
        """A step may be a fraction, 1/255."""
        if value is None or value == "auto":
            return value
        above, _, below = str(value).partition("/")
        with suppress(ValueError, ZeroDivisionError):
            if 0 < (step := float(above) / float(below or 1)) < math.inf:
                return step
        raise ValueError(f"{value} is no step: auto, null or a positive number such as 1/255 is needed")

    @field_validator("paths", mode="before")
    @classmethod
    def none_is_empty(cls, value: Any) -> Any:
        return {} if value is None else value

    @field_validator("clamp", mode="plain")
    @classmethod
    def range_of_values(cls, value: Any) -> Any:
        """A list of two numbers, the smaller first."""
        if value is None or value == "auto":
            return value
        with suppress(ValueError, TypeError):
            low, high = value
            if {type(low), type(high)} <= {int, float} and -math.inf < low < high < math.inf:
                return float(low), float(high)
        raise ValueError(f"{value} is no range of values: auto, null or two numbers such as [0, 1] are needed")

    @model_validator(mode="after")
    def enough_samples(self) -> Self:
        if self.alpha ** (1 / self.samples) <= 0.5:
            needed = math.floor(-math.log2(self.alpha)) + 1
            raise ValueError(f"samples={self.samples} can certify nothing at alpha={self.alpha}: use at least {needed}")
        return self

    @model_validator(mode="after")
    def one_bound(self) -> Self:
        if self.bound == "sequential":
            raise ValueError("bound=sequential is that of a target_radius: leave it out")
        if self.target_radius is not None and self.bound != "clopper_pearson":
            raise ValueError(f"bound={self.bound} is not used with target_radius={self.target_radius}: leave one out")
        return self
