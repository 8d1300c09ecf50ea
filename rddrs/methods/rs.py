"""RS: isotropic noise of the training level (Cohen, Rosenfeld & Kolter 2019)."""

from rddrs.methods.base import Method, Problem, Proposal
from rddrs.noise import Isotropic


class RS(Method):
    """C = sigma I: nothing to optimise."""

    @property
    def uses_gradient(self) -> bool:
        return False

    @property
    def same_scale(self) -> bool:
        return True

    def solve(self, problem: Problem) -> Proposal:
        return Proposal(Isotropic(problem.sigma, problem.dim), "done", problem.sigma)
