"""The guard: which of an ascent's iterates is proposed (METHOD section 4.2)."""

import math

from rddrs.methods.base import Problem, Proposal
from rddrs.methods.moments import gain
from rddrs.noise import Isotropic, Purpose, Scale
from rddrs.smoothing import fidelity
from rddrs.threats import VOLUME, Threat

GUARD_DRAWS = 5
"""Noise draws an input when an iterate's fidelity is measured: a quarter of what is reported, with its own baseline."""


class Guard:
    """Keeps the iterate that is worth most by a pilot certificate among those whose fidelity is at least `threshold`.

    That is the one of the largest log R + gain of the threat: of the largest proxy radius, by default. It starts from
    sigma I, whose fidelity is 1: the kept scale is never vacuous. With threshold 0 it is off: nothing is measured and
    the latest iterate is kept. `visit` measures one iterate in `check`. Raises ValueError where it is on and the
    problem has no reference set.
    """

    def __init__(
        self, problem: Problem, threshold: float, check: int = 1, samples: int = 1_000, threat: Threat = VOLUME
    ) -> None:
        if threshold > 0 and problem.reference is None:
            raise ValueError(f"guard={threshold} measures fidelity on a reference set: give `reference`, or guard=0")
        self._problem, self._threshold, self._check, self._samples = problem, threshold, check, samples
        self._threat = threat
        self.best: Scale = Isotropic(problem.sigma, problem.dim)
        self.kept = 0
        self._best_worth = self._worth(self.best) if threshold > 0 else 0.0

    def _worth(self, scale: Scale) -> float:
        radius = self._problem.pilot_radius(scale, self._samples)
        return math.log(radius) + gain(self._threat, self._problem.x[None], scale) if radius else -math.inf

    def offer(self, scale: Scale) -> bool:
        """Keep `scale` if it is better than all before; whether it was kept."""
        if self._threshold > 0:
            worth = self._worth(scale)
            if worth <= self._best_worth or not self._faithful(scale):
                return False
            self._best_worth = worth
        self.best = scale
        self.kept += 1
        return True

    def visit(self, scale: Scale, step: int, steps: int) -> None:
        """Offer the iterate of one step of several, if it is a `check`-th or the last; every one where it is off."""
        if not self._threshold or (step + 1) % self._check == 0 or step + 1 == steps:
            self.offer(scale)

    def proposal(self, status: str, iterations: int, sigma_x: float) -> Proposal:
        """The best scale; `refused` where an ascent that ended well had no iterate that was kept."""
        refused = status == "done" and self.kept == 0
        return Proposal(self.best, "refused" if refused else status, sigma_x, iterations)

    def _faithful(self, scale: Scale) -> bool:
        problem = self._problem
        assert problem.reference is not None
        measured = fidelity(
            problem.classifier,
            scale,
            problem.reference,
            sigma=problem.sigma,
            seed=problem.seed,
            index=problem.index,
            purpose=Purpose.GUARD,
            draws=GUARD_DRAWS,
            norm=problem.norm,
        )
        return measured.value >= self._threshold
