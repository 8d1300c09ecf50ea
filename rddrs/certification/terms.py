"""What is asked of a certificate, and how counts become a radius: the one place that says so.

`certify` proves by it, a certificate is read under it, and the audit, which believes no certificate, takes the terms
from whoever asked for it and proves again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from rddrs.noise import Family, Norm, Scale, family_of
from rddrs.options import check
from rddrs.smoothing import (
    Decision,
    clopper_pearson,
    decide,
    keyed_uniform,
    randomized_clopper_pearson,
    sequential_lower,
)

ABSTAIN = -1

Bound = Literal["clopper_pearson", "randomized_clopper_pearson", "sequential"]

Count = Annotated[int, Field(strict=True, gt=0)]
Positive = Annotated[float, Field(strict=True, gt=0)]
Share = Annotated[float, Field(strict=True, gt=0, lt=1)]
"""Numbers: neither a text nor `true` is one."""

Range = Annotated[tuple[float, float], Field(strict=False)]
"""Two numbers, in a tuple or a list."""

LAST_BIT = 1 + 1e-12
"""The rounding of R / lambda must not leave a ball that is smaller than R by the last bit."""


@dataclass(frozen=True)
class Proof:
    """What counts prove: a class, or an abstention, the lower bound of its probability, and the radius.

    `decision` is that about a target radius, where there is one.
    """

    prediction: int
    p_lower: float
    radius: float
    decision: Decision | None = None


@dataclass(frozen=True)
class Demand:
    """How many draws there are and what is to be proven by them: the terms that do not depend on the inputs.

    `samples` is the most that may be drawn where there is a `target_radius`, whose bound is "sequential".
    """

    samples: Count = 100_000
    selection_samples: Count = 100
    alpha: Share = 1e-3
    bound: Bound = "clopper_pearson"
    target_radius: Positive | None = None
    norm: Norm = "l2"


@dataclass(frozen=True)
class Terms(Demand):
    """The arguments of `certify` that decide what its certificate is worth.

    `clamp` and `rounding` are those of the images that severities speak of. A field is audited where a certificate has
    one of its name. Raises ValueError for values out of range.
    """

    grid: Positive | None = None
    seed: int = 0
    clamp: Range | None = None
    rounding: Positive | None = None

    def __post_init__(self) -> None:
        check(self)

    @property
    def family(self) -> Family:
        """The family of the noise."""
        return family_of(self.norm)

    @property
    def largest_radius(self) -> float:
        """The largest radius rho(alpha^(1/n)) that `samples` can certify; 0 where they certify nothing."""
        return self.family.radius(self.alpha ** (1 / self.samples))

    def decided(self, successes: int, drawn: int, scale: Scale) -> Decision:
        """Whether the region holds the ball of the target radius, after so many draws."""
        return decide(successes, drawn, self.family.probability(self._needed(scale)), self.alpha)

    def prove(
        self, selection: Sequence[int], counts: Sequence[int], scale: Scale, *, index: int, drawn: int | None = None
    ) -> Proof:
        """What the counts prove of the class that the `selection` counts are most of.

        `drawn` is how many draws were counted, `samples` unless a target radius was decided early; never more.
        """
        top = max(range(len(selection)), key=selection.__getitem__)
        drawn = self.samples if drawn is None or self.target_radius is None else min(drawn, self.samples)
        successes = min(counts[top], drawn) if top < len(counts) else 0
        if self.target_radius is None:
            p_lower = lower_bound(self.bound, successes, drawn, self.alpha, self.seed, index)
            radius, decision = self.family.radius(p_lower), None
        else:
            decision = self.decided(successes, drawn, scale)
            radius = self._needed(scale) if decision == "yes" else 0.0
            p_lower = self.family.probability(radius) if radius > 0 else 0.0
        return Proof(top if radius > 0 else ABSTAIN, p_lower, radius, decision)

    def _needed(self, scale: Scale) -> float:
        """The radius in C's norm that a ball of the target radius needs."""
        assert self.target_radius is not None
        return self.target_radius / self.family.ball(scale) * LAST_BIT


def lower_bound(bound: Bound, successes: int, samples: int, alpha: float, seed: int, index: int) -> float:
    """The lower bound of p_A, by name; the randomized one draws its uniform number by (seed, index)."""
    if bound == "clopper_pearson":
        return clopper_pearson(successes, samples, alpha)
    if bound == "sequential":
        return sequential_lower(successes, samples, alpha)
    return randomized_clopper_pearson(successes, samples, alpha, keyed_uniform(seed, index))
