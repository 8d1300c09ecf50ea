"""RDDRS as its paper has it: Riemannian ascent on the whole SPD manifold (Labarbarie, Hajri & Arnaudon 2022)."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor
from torch.linalg import LinAlgError  # pyright: ignore[reportAttributeAccessIssue]

from rddrs.methods.base import Method, Problem, Proposal
from rddrs.methods.guard import Guard
from rddrs.methods.papers import gap, size
from rddrs.noise import Full, spd
from rddrs.smoothing import soft_probabilities

LARGEST = 1_500
STEP_SECONDS = 0.45
"""What an iteration spends on decompositions at d = 784 on one core; it grows with d^3."""


class RDDRSPaper(Method):
    """Any C, by C <- Exp_C(gamma grad H), H(C) = R det(C)^(1/d) + kappa lambda_min R (equations 5 and 6).

    Starts at sigma_x I; after every step the eigenvalues are raised to the floor. The manifold is computed in float64,
    the network in the input's precision. A step that is not finite or leaves the manifold ends the ascent. With
    `guard` > 0 the iterates at every `check` steps are offered to the guard; with 0 the last one is proposed.
    """

    gamma: PositiveFloat = 0.5
    kappa: NonNegativeFloat = 1e-6
    samples: PositiveInt = 20_000
    iterations: PositiveInt = 100
    metric: spd.Metric = "affine_invariant"
    guard: float = Field(default=0.0, ge=0, le=1)
    check: PositiveInt = 10
    floor: Literal["sigma", "sigma_x"] | PositiveFloat = "sigma_x"

    @property
    def uses_sigma_x(self) -> bool:
        return True

    def require(self, shape: Sequence[int]) -> None:
        dim = math.prod(shape)
        if self.norm != "l2":
            raise ValueError(
                f"method=rddrs_paper is of Gaussian noise and l2 alone, as its paper is, not of {self.norm}: "
                "use rs, ddrs, ancer, rddrs or rddrs_global"
            )
        if dim > LARGEST:
            hours = self.iterations * STEP_SECONDS * (dim / 784) ** 3 / 3600
            raise ValueError(
                f"method=rddrs_paper decomposes dense d x d matrices in every iteration: at d = {dim} that takes "
                f"{hours:.1f} hours an input beside {2 * self.samples * self.iterations:,} passes of the network; it "
                f"takes inputs of at most d = {LARGEST}: use method=rddrs or rddrs_global, whose structure=kronecker "
                "has no such limit"
            )

    def solve(self, problem: Problem) -> Proposal:
        guard = Guard(problem, self.guard, self.check)
        floor = getattr(problem, self.floor) if isinstance(self.floor, str) else self.floor
        vectors = torch.eye(problem.dim, dtype=torch.float64, device=problem.x.device)
        values = torch.full_like(vectors[0], problem.sigma_x)
        base = spd.compose(values, vectors)
        guard.offer(Full(base.to(problem.x.dtype)))
        status, step = "done", 0
        for step in range(self.iterations):
            try:
                gradient = spd.riemannian_gradient(base, self.gradient(problem, values, vectors, step), self.metric)
                end = spd.exp(base, self.gamma * gradient, self.metric)
                values, vectors = spd.floored_spectrum(end, floor)
                base = spd.compose(values, vectors)
                scale = Full(base.to(problem.x.dtype))
            except (FloatingPointError, ValueError, LinAlgError) as error:
                status = f"failed: iteration {step}: {error}"
                break
            guard.visit(scale, step, self.iterations)
        return guard.proposal(status, step + 1, problem.sigma_x)

    def gradient(
        self, problem: Problem, values: Float[Tensor, " d"], vectors: Float[Tensor, "d d"], step: int
    ) -> Float[Tensor, "d d"]:
        """The Euclidean gradient of H at the C of this spectrum, float64, estimated from `samples` samples.

        R is a nonlinear function of the mean probabilities, so the micro-batches are passed twice: once for the mean,
        once, with the same noise, for the gradient of the mean along dR.
        """
        matrix = spd.compose(values, vectors).to(problem.x.dtype)
        sizes = [min(problem.batch, self.samples - start) for start in range(0, self.samples, problem.batch)]
        blocks = list(enumerate(sizes, start=step * len(sizes)))
        mean = torch.zeros(())
        with torch.no_grad():
            for block, count in blocks:
                noise = problem.draw(count, block) @ matrix
                mean = mean + soft_probabilities(problem.classifier, problem.x, noise) * (count / self.samples)
        mean = mean.requires_grad_()
        radius = gap(mean, problem.label)
        (direction,) = torch.autograd.grad(radius, mean)
        total = torch.zeros_like(vectors)
        for block, count in blocks:
            z = problem.draw(count, block)
            noise = (z @ matrix).requires_grad_()
            probabilities = soft_probabilities(problem.classifier, problem.x, noise) * (count / self.samples)
            (gradient,) = torch.autograd.grad(probabilities @ direction, noise)
            total += (z.mT @ gradient).double()
        height, slope = size(values, vectors, self.kappa)
        return spd.symmetric(total * height + radius.item() * slope)
