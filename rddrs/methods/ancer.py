"""ANCER: diagonal noise of large volume (Eiras et al., TMLR 2022)."""

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from rddrs.methods.base import Method, Problem, Proposal
from rddrs.methods.guard import Guard
from rddrs.methods.papers import gap
from rddrs.noise import Diagonal
from rddrs.smoothing import soft_probabilities


class ANCER(Method):
    """C = diag(theta) by Adam on R det(C)^(1/d) + kappa min(theta) R, with theta >= sigma_x, from sigma_x I.

    With `guard` > 0 the iterates at every `check` steps are offered to the guard; with 0 the last one is proposed.
    """

    gamma: PositiveFloat = 0.04
    kappa: NonNegativeFloat = 2.0
    samples: PositiveInt = 100
    iterations: PositiveInt = 100
    guard: float = Field(default=0.0, ge=0, le=1)
    check: PositiveInt = 10

    @property
    def uses_sigma_x(self) -> bool:
        return True

    def solve(self, problem: Problem) -> Proposal:
        guard = Guard(problem, self.guard, self.check)
        theta = torch.full_like(problem.x.flatten(), problem.sigma_x).requires_grad_()
        guard.offer(Diagonal(theta.detach().clone()))
        optimizer = torch.optim.Adam([theta], lr=self.gamma, maximize=True)
        status, step = "done", 0
        for step in range(self.iterations):
            noise = problem.draw(self.samples, step) * theta
            probabilities = soft_probabilities(problem.classifier, problem.x, noise)
            radius = gap(probabilities, problem.label, problem.norm)
            size = radius * (theta.log().mean().exp() + self.kappa * theta.min())
            optimizer.zero_grad()
            (theta.grad,) = torch.autograd.grad(size, theta)
            optimizer.step()
            with torch.no_grad():
                theta.clamp_(min=problem.sigma_x)
            if not torch.isfinite(theta).all():
                status = f"failed: theta is not finite after iteration {step}"
                break
            guard.visit(Diagonal(theta.detach().clone()), step, self.iterations)
        return guard.proposal(status, step + 1, problem.sigma_x)
