"""DDRS: the isotropic noise level of the largest certificate (Alfarra et al. 2020)."""

from typing import Literal

import torch
from pydantic import PositiveFloat, PositiveInt

from rddrs.methods.base import GRID, Method, Problem, Proposal
from rddrs.methods.papers import gap
from rddrs.noise import Isotropic
from rddrs.smoothing import soft_probabilities


class DDRS(Method):
    """C = sigma_x I, found by gradient ascent of sigma * R(sigma) or by a grid of noise levels.

    The ascent takes `iterations` plain gradient steps of learning rate `gamma` on `samples` samples each; of the
    iterates at every `checkpoint` steps and the start, the best by pilot samples is proposed, never by certification.
    """

    search: Literal["gradient", "grid"] = "grid"
    gamma: PositiveFloat = 1e-4
    samples: PositiveInt = 100
    iterations: PositiveInt = 1_500
    checkpoint: PositiveInt = 100

    @property
    def uses_sigma_x(self) -> bool:
        return self.search == "grid"

    @property
    def uses_gradient(self) -> bool:
        return self.search == "gradient"

    def solve(self, problem: Problem) -> Proposal:
        if self.search == "grid":
            return Proposal(Isotropic(problem.sigma_x, problem.dim), "done", problem.sigma_x, len(GRID))
        candidates, status, step = self._ascend(problem)
        sigma_x = problem.best_sigma(candidates)
        return Proposal(Isotropic(sigma_x, problem.dim), status, sigma_x, step)

    def _ascend(self, problem: Problem) -> tuple[list[float], str, int]:
        sigma = torch.tensor(problem.sigma, dtype=problem.x.dtype, device=problem.x.device, requires_grad=True)
        candidates = [problem.sigma]
        for step in range(self.iterations):
            noise = sigma * problem.draw(self.samples, step)
            probabilities = soft_probabilities(problem.classifier, problem.x, noise)
            (gradient,) = torch.autograd.grad(sigma * gap(probabilities, problem.label, problem.norm), sigma)
            with torch.no_grad():
                sigma += self.gamma * gradient
            if not (torch.isfinite(sigma) and sigma > 0):
                return candidates, f"failed: sigma_x became {sigma.item()} in iteration {step}", step
            if (step + 1) % self.checkpoint == 0:
                candidates.append(sigma.item())
        return candidates, "done", self.iterations
