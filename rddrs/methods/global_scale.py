"""One noise scale for all inputs (METHOD section 4.4): G_C is one fixed classifier, certified as in Cohen et al."""

from collections.abc import Iterator
from functools import partial
from threading import Lock

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, PrivateAttr

from rddrs.methods.ascent import BACKTRACKS, climb, height, margin_radius, margins
from rddrs.methods.base import Method, Problem, Proposal, Track, untracked
from rddrs.methods.flats import Flat, flat_at
from rddrs.methods.moments import moment_of, slopes, spreads_of
from rddrs.methods.structures import Basis, Structure, structured
from rddrs.noise import Isotropic, Purpose, Scale, Stream, family_of
from rddrs.smoothing import Classifier, Known, Reference, SmoothedClassifier, fidelity, logits_of, predict
from rddrs.threats import Threat

CAREFUL_DRAWS = 100
"""Noise draws an input where G_C and G_sigma are compared under the same draws: five times as many as at first."""


def is_start(scale: Scale, sigma: float) -> bool:
    """Whether a scale with the floor sigma is sigma I, up to rounding: whether its search found nothing."""
    return scale.eigenvalues[-1].item() <= sigma * (1 + 1e-5)


class GlobalScale(Method):
    """One C, by the commuting-geodesic ascent of J averaged over training inputs, from sigma I, floor sigma.

    Every iteration takes `samples` antithetic draws at each of `inputs` random reference inputs. After each round the
    step is shortened until the fidelity is at least `guard` (0: off); a round that no shortening saves ends the
    search. In the first round a refusal is looked at again, with care: G_C and G_sigma under the same draws, and more
    of them, because their accuracies under draws of their own differ by more than the guard lets pass (2 % at
    C = sigma I itself was seen). Where nothing passes C is sigma I, and the status of every proposal `refused`.
    `structure` and `basis` say what kind of C it is, `threat` what it is aimed at: the volume by default. It is
    optimised once for a classifier object, sigma and seed, and remembered: `propose` returns it.
    """

    gamma: PositiveFloat = 0.1
    kappa: NonNegativeFloat = 0.0
    samples: PositiveInt = Field(default=32, multiple_of=2)
    inputs: PositiveInt = 16
    iterations: PositiveInt = 40
    rounds: PositiveInt = 3
    outer: PositiveInt = 4_000
    mu: NonNegativeFloat = 2.0
    guard: float = Field(default=0.985, ge=0, le=1)
    temperature: PositiveFloat = 2.0
    structure: Structure = "auto"
    basis: Basis = "learned"
    threat: Threat = Field(default_factory=Threat, exclude=True)
    _known: Known = PrivateAttr(default_factory=Known)
    _lock: Lock = PrivateAttr(default_factory=Lock)

    @property
    def shared_scale(self) -> "GlobalScale":
        return self

    def solve(self, problem: Problem) -> Proposal:
        if problem.reference is None:
            raise ValueError("a global scale is optimised over training inputs: give `reference`")
        scale = self.known(problem.classifier, problem.reference, problem.sigma, problem.seed)
        status = "refused" if is_start(scale, problem.sigma) else "done"
        return Proposal(scale, status, problem.sigma, self.rounds * self.iterations)

    def known(
        self, classifier: Classifier, reference: Reference, sigma: float, seed: int, track: Track = untracked
    ) -> Scale:
        """The scale of a classifier, optimised on the first call."""
        with self._lock:
            scales = self._known.of(classifier)
            if (sigma, seed) not in scales:
                scales[sigma, seed] = self.fit(classifier, reference, sigma=sigma, seed=seed, track=track)
            return scales[sigma, seed]

    def adopt(self, classifier: Classifier, scale: Scale, *, sigma: float, seed: int = 0) -> None:
        """Use a scale that was optimised before, for example one that was co-trained with the classifier."""
        with self._lock:
            self._known.of(classifier)[sigma, seed] = scale

    def fit(
        self,
        classifier: Classifier,
        reference: Reference,
        *,
        sigma: float,
        seed: int = 0,
        track: Track = untracked,
    ) -> Scale:
        """Optimise C over the reference inputs; the isotropic sigma where the guard lets nothing else pass."""
        scale: Scale = Isotropic(sigma, reference.inputs[0].numel())
        careful = False
        for turn in track(range(self.rounds), "one C for all inputs"):
            found = partial(self._slopes, classifier, reference, scale, seed, turn)
            base = structured(scale, self.structure, self.basis, reference.inputs, found, self.threat)
            spreads = spreads_of(self.threat, reference.inputs, base)
            flat = flat_at(base, moment_of(found(), base), self.threat, spreads)
            a = self._ascend(classifier, reference, flat, sigma, seed, turn)
            kept = self._backtrack(classifier, reference, flat, a, sigma, seed, careful)
            if kept is None and turn == 0:
                careful = True
                kept = self._backtrack(classifier, reference, flat, a, sigma, seed, careful)
            if kept is None:
                break
            scale = kept
        return scale

    def _ascend(
        self, classifier: Classifier, reference: Reference, flat: Flat, sigma: float, seed: int, turn: int
    ) -> torch.Tensor:
        shape = reference.inputs.shape[1:]

        def value(a: torch.Tensor, step: int) -> torch.Tensor:
            source = self._source(reference, seed, turn, step)
            chosen = torch.randint(
                len(reference.inputs), (self.inputs,), generator=source, device=reference.inputs.device
            )
            z = family_of(self.norm).draw(self.inputs * self.samples // 2, a, source).unflatten(0, (self.inputs, -1))
            noise = flat.noise(a, torch.cat([z, -z], dim=1).flatten(0, 1))
            noisy = reference.inputs[chosen].flatten(1).repeat_interleave(self.samples, dim=0) + noise
            labels = reference.labels[chosen].repeat_interleave(self.samples)
            found = margins(logits_of(classifier, noisy.view(-1, *shape)), labels, self.temperature)
            smallest = (flat.lowest(sigma).neg() + a).min().exp()
            radii = margin_radius(found.view(self.inputs, self.samples), self.norm)
            return height(radii, flat.aim(a), smallest, found, kappa=self.kappa, mu=self.mu)

        return climb(value, flat.lowest(sigma), self.iterations, self.gamma)

    def _slopes(
        self, classifier: Classifier, reference: Reference, scale: Scale, seed: int, turn: int
    ) -> Iterator[torch.Tensor]:
        source, inputs = self._source(reference, seed, turn, self.iterations), reference.inputs
        chosen = torch.randint(len(inputs), (self.outer,), generator=source, device=inputs.device)
        return slopes(classifier, inputs, reference.labels, chosen, scale, source, self.norm, self.temperature)

    def _backtrack(
        self,
        classifier: Classifier,
        reference: Reference,
        flat: Flat,
        a: torch.Tensor,
        sigma: float,
        seed: int,
        careful: bool,
    ) -> Scale | None:
        for share in BACKTRACKS:
            scale = flat.scale(share * a, sigma)
            if not self.guard or self._fidelity(classifier, reference, scale, sigma, seed, careful) >= self.guard:
                return scale
        return None

    def _fidelity(
        self, classifier: Classifier, reference: Reference, scale: Scale, sigma: float, seed: int, careful: bool
    ) -> float:
        if not careful:
            return fidelity(
                classifier, scale, reference, sigma=sigma, seed=seed, purpose=Purpose.GUARD, norm=self.norm
            ).value
        right = []
        for it in (scale, Isotropic(sigma, scale.dim)):
            smoothed, stream = SmoothedClassifier(classifier, it, self.norm), Stream(seed, 0, Purpose.GUARD)
            answers = predict(smoothed, reference.inputs, stream, CAREFUL_DRAWS)
            right.append((answers == reference.labels).sum().item())
        return right[0] / max(right[1], 1)

    def _source(self, reference: Reference, seed: int, turn: int, step: int) -> torch.Generator:
        """The random numbers of a step, or, after the last of a round, of its slopes."""
        stream = Stream(seed, 0, Purpose.GLOBAL).child(1 + turn * (self.iterations + 1) + step)
        return stream.generator(reference.inputs.device)
