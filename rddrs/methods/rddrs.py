"""RDDRS: any noise scale, by a guarded ascent along commuting geodesics (METHOD sections 4.2 and 4.3)."""

from collections.abc import Iterator
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, PrivateAttr
from torch import Tensor

from rddrs.methods.ascent import BACKTRACKS, climb, height, margin_radius, margins
from rddrs.methods.base import Method, Problem, Proposal
from rddrs.methods.flats import Flat, flat_at, raised
from rddrs.methods.global_scale import GlobalScale
from rddrs.methods.guard import Guard
from rddrs.methods.moments import moment_of, slopes, spreads_of, trace
from rddrs.methods.structures import Basis, Structure, structured
from rddrs.noise import Isotropic, Scale
from rddrs.smoothing import logits_of
from rddrs.threats import Threat

NOISE, OTHERS, CHOICE = 0, 1 << 19, 1 << 20
"""What is drawn for a step: noise, the noise of the other inputs' slopes, and which other inputs."""


class RDDRS(Method):
    """C by rounds of: the eigenvectors of the whitened gradient outer product, then Adam along their geodesics.

    Half of the outer product, and of every iteration's `samples` draws, is taken at x and half at random reference
    inputs, where wrong answers are penalised by `mu`. A round's step is shortened until the guard keeps it: a pilot
    certificate that is worth more, of larger volume by default, with a fidelity of at least `guard`. A round of which
    nothing is kept ends the ascent. The eigenvalues stay above the floor. `start` is sigma I or the global scale of the
    reference inputs, which is optimised once. `structure` and `basis` say what kind of C; it is aimed at the
    displacements of x by `threat`, at the volume by default. Without a reference set (guard=0) the ascent sees x alone.
    """

    gamma: PositiveFloat = 0.2
    kappa: NonNegativeFloat = 0.0
    samples: PositiveInt = Field(default=128, multiple_of=4)
    iterations: PositiveInt = 20
    rounds: PositiveInt = 1
    outer: PositiveInt = Field(default=512, multiple_of=2)
    mu: NonNegativeFloat = 3.0
    guard: float = Field(default=0.97, ge=0, le=1)
    temperature: PositiveFloat = 2.0
    floor: Literal["sigma", "sigma_x"] | PositiveFloat = "sigma"
    start: Literal["isotropic", "global"] = "global"
    structure: Structure = "auto"
    basis: Basis = "learned"
    threat: Threat = Field(default_factory=Threat, exclude=True)
    _global: GlobalScale = PrivateAttr()

    def model_post_init(self, _: Any) -> None:
        own: dict[str, Any] = {"structure": self.structure, "basis": self.basis, "threat": self.threat}
        self._global = GlobalScale(**own, norm=self.norm)

    @property
    def uses_sigma_x(self) -> bool:
        return self.floor == "sigma_x"

    @property
    def shared_scale(self) -> GlobalScale | None:
        """What makes the warm start: its `adopt` gives it a scale that was optimised before."""
        return self._global if self.start == "global" else None

    def solve(self, problem: Problem) -> Proposal:
        guard = Guard(problem, self.guard, threat=self.threat)
        sigma_x = problem.sigma_x if self.uses_sigma_x else problem.sigma
        floor = sigma_x if isinstance(self.floor, str) else self.floor
        start = self._start(problem, floor)
        status, scale, turn = "done", start, 0
        for turn in range(self.rounds):
            flat = self._flat(problem, scale, turn)
            try:
                a = self._ascend(problem, flat, floor, turn)
            except FloatingPointError as error:
                status = f"failed: round {turn}: {error}"
                break
            kept = next((made for share in BACKTRACKS if guard.offer(made := flat.scale(share * a, floor))), None)
            if kept is None:
                status = "stalled"
                break
            scale = kept
        start = raised(start, floor) if floor > problem.sigma else start
        if guard.kept == 0 and not guard.offer(start) and status == "stalled":
            status = "refused"
        return Proposal(guard.best, status, sigma_x, (turn + 1) * self.iterations)

    def _start(self, problem: Problem, floor: float) -> Scale:
        if self.start == "isotropic" or problem.reference is None:
            return Isotropic(max(floor, problem.sigma), problem.dim)
        return self._global.known(problem.classifier, problem.reference, problem.sigma, problem.seed)

    def _flat(self, problem: Problem, scale: Scale, turn: int) -> Flat:
        """The flat at a scale; x and the reference inputs weigh the same in its M, each with the trace 1."""
        half, block, reference = self.outer // 2, self._block(turn, self.iterations), problem.reference
        label = torch.full((1,), problem.label, device=problem.x.device)
        sets = [partial(self._slopes, problem, problem.x[None], label, label.new_zeros(half), scale, NOISE | block)]
        if reference is not None:
            chosen = self._chosen(problem, half, block)
            sets.append(
                partial(self._slopes, problem, reference.inputs, reference.labels, chosen, scale, OTHERS | block)
            )
        base = structured(scale, self.structure, self.basis, problem.x[None], sets[-1], self.threat)
        moments = [moment_of(each(), base) for each in sets]
        moment = torch.stack([moment / trace(moment) for moment in moments]).sum(dim=0)
        return flat_at(base, moment, self.threat, spreads_of(self.threat, problem.x[None], base))

    def _slopes(
        self, problem: Problem, inputs: Tensor, labels: Tensor, chosen: Tensor, scale: Scale, block: int
    ) -> Iterator[Tensor]:
        source = problem.ascent(block)
        return slopes(problem.classifier, inputs, labels, chosen, scale, source, self.norm, self.temperature)

    def _ascend(self, problem: Problem, flat: Flat, floor: float, turn: int) -> Float[Tensor, " d"]:
        half = self.samples // 2
        label = torch.full((half,), problem.label, device=problem.x.device)
        lowest = flat.lowest(floor)

        def value(a: Float[Tensor, " d"], step: int) -> Float[Tensor, ""]:
            block = self._block(turn, step)
            z = problem.draw(half + half // 2, NOISE | block)
            noise = flat.noise(a, torch.cat([z[: half // 2], -z[: half // 2], z[half // 2 :]]))
            inputs, labels = problem.x.flatten().expand(half, -1), label
            if problem.reference is not None:
                chosen = self._chosen(problem, half, block)
                inputs = torch.cat([inputs, problem.reference.inputs[chosen].flatten(1)])
                labels = torch.cat([labels, problem.reference.labels[chosen]])
            noisy = (inputs + noise[: len(inputs)]).view(-1, *problem.x.shape)
            found = margins(logits_of(problem.classifier, noisy), labels, self.temperature)
            radii = margin_radius(found[None, :half], self.norm)
            mu = self.mu if problem.reference is not None else 0.0
            return height(radii, flat.aim(a), (a - lowest).min().exp(), found[half:], kappa=self.kappa, mu=mu)

        return climb(value, lowest, self.iterations, self.gamma)

    def _block(self, turn: int, step: int) -> int:
        return turn * (self.iterations + 1) + step

    def _chosen(self, problem: Problem, count: int, block: int) -> Tensor:
        assert problem.reference is not None
        source = problem.ascent(CHOICE | block)
        return torch.randint(len(problem.reference.inputs), (count,), generator=source, device=problem.x.device)
