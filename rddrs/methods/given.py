"""A C that is given, the same for every input: made by another run, another machine or another method."""

import math
from collections.abc import Sequence
from itertools import accumulate
from operator import mul
from pathlib import Path
from typing import Any

from pydantic import field_validator

from rddrs.files import Unreadable
from rddrs.methods.base import Method, Problem, Proposal
from rddrs.noise import Kronecker, Scale, load_scale


class Given(Method):
    """C = `scale`, a scale or the file of one that `save_scale` wrote: nothing to optimise, no gradient is needed.

    Raises ValueError where there is no such file, it holds no scale, or says that it was made for another norm. G_C is
    one fixed classifier: choose C by training inputs, never by the inputs that are certified with it.
    """

    scale: Scale

    @field_validator("scale", mode="before")
    @classmethod
    def read(cls, value: Any, info: Any) -> Any:
        """A path stands for what its file holds."""
        if not isinstance(value, str | Path):
            return value
        if not Path(value).is_file():
            raise ValueError(f"{value}: there is no such file: one that rddrs.save_scale wrote is needed")
        try:
            return load_scale(value, info.data.get("norm"))
        except Unreadable as error:
            raise ValueError(f"{value} is no scale that rddrs.save_scale wrote: {error.__cause__}") from error

    @property
    def uses_gradient(self) -> bool:
        return False

    @property
    def one_scale(self) -> bool:
        return True

    @property
    def contents(self) -> dict[str, str]:
        return {"scale": self.scale.digest}

    def require(self, shape: Sequence[int]) -> None:
        if self.scale.dim != math.prod(shape):
            raise ValueError(
                f"scale={self.scale!r} has dimension {self.scale.dim}, inputs of shape {tuple(shape)} have "
                f"{math.prod(shape)} entries: they must be equal"
            )
        if isinstance(self.scale, Kronecker):
            own, sizes = tuple(self.scale.values.shape), set(accumulate(shape, mul))
            if not sizes.issuperset(accumulate(own, mul)):
                raise ValueError(
                    f"scale={self.scale!r} has axes of sizes {own}, inputs have the shape {tuple(shape)}: the axes of "
                    "C must be those of the inputs, or neighbouring ones of them taken together"
                )

    def solve(self, problem: Problem) -> Proposal:
        return Proposal(self.scale.to(problem.x.device, problem.x.dtype), "done", problem.sigma)
