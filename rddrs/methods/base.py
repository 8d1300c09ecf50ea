"""What every method is: it proposes a noise scale for an input, and never grades itself."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict
from torch import Tensor
from torch.linalg import LinAlgError  # pyright: ignore[reportAttributeAccessIssue]

from rddrs.noise import Family, Isotropic, Norm, Purpose, Scale, Stream, family_of
from rddrs.smoothing import (
    Classifier,
    Reference,
    SmoothedClassifier,
    check_contract,
    check_evaluates,
    clopper_pearson,
    hard_counts,
    held,
    logits_of,
    owned_input,
)

GRID = tuple(2 ** (step / 4) for step in range(-4, 6))
"""The ten noise levels that sigma_x is searched among, in units of sigma: from sigma / 2 to 2.4 sigma."""

PILOT_ALPHA = 1e-3

Track = Callable[[Sequence[Any], str], Iterable[Any]]
"""`track(steps, description)` gives the steps of a long search one by one, and may show how far it is."""


def untracked(steps: Sequence[Any], description: str) -> Iterable[Any]:
    """Shows nothing."""
    return steps


@dataclass(frozen=True, eq=False)
class Proposal:
    """The scale that a method proposes for one input, and how the search for it ended.

    `status` is `done`, `stalled` (ended early, nothing more to gain), `refused` (the guard passed nothing but sigma I,
    which is then proposed whatever the floor) or `failed: REASON`, with the last good scale as the proposal.
    `x` is the input that it was made for.
    """

    scale: Scale
    status: str
    sigma_x: float
    iterations: int = 0
    x: Tensor | None = None

    def __repr__(self) -> str:
        numbers = ", ".join(f"{name} {value}" for name, value in self._numbers.items())
        return f"Proposal({type(self.scale).__name__}, {self.status}, {numbers})"

    def _repr_html_(self) -> str:
        from rddrs.pictures import card

        x = torch.zeros(self.scale.dim) if self.x is None else self.x
        return card(repr(self), x, self.scale, self._numbers)

    @property
    def _numbers(self) -> dict[str, str]:
        """What the radius of a certificate is multiplied with: the ball's, the proxy's and the longest axis' factor."""
        values = self.scale.eigenvalues
        found = {"ball": values[0].item(), "proxy": self.scale.geometric_mean, "longest axis": values[-1].item()}
        return {f"{name} / radius": f"{value:.3g}" for name, value in found.items()}


@dataclass(frozen=True, eq=False)
class Problem:
    """One input as a method sees it.

    `label` is the class that G_sigma answers at `x` by the majority of 100 samples. `sigma_x` is the noise level of the
    best isotropic certificate by pilot samples, searched over ten levels where it is not given.
    """

    classifier: Classifier
    x: Float[Tensor, "*shape"]
    sigma: float
    reference: Reference | None
    seed: int
    index: int
    batch: int
    given_sigma_x: float | None = field(default=None)
    norm: Norm = field(default="l2", kw_only=True)

    @property
    def family(self) -> Family:
        """The family of the noise."""
        return family_of(self.norm)

    @property
    def dim(self) -> int:
        return self.x.numel()

    @cached_property
    def label(self) -> int:
        return int(self.counts(Isotropic(self.sigma, self.dim), 100, Purpose.LABEL).argmax())

    @cached_property
    def sigma_x(self) -> float:
        if self.given_sigma_x is not None:
            return self.given_sigma_x
        return self.best_sigma([self.sigma, *(factor * self.sigma for factor in GRID if factor != 1)])

    def best_sigma(self, candidates: list[float]) -> float:
        """The noise level of the largest pilot certificate sigma * rho, from 2,000 samples each; ties: the first.

        One that could not be larger, were all samples that are left answered by the label, is given up at once: which
        changes no answer.
        """
        best, largest = candidates[0], 0.0
        for sigma in candidates:
            if (size := self._size_above(largest, sigma, 2_000)) > largest:
                best, largest = sigma, size
        return best

    def _size_above(self, least: float, sigma: float, samples: int) -> float:
        """sigma * rho as `pilot_radius` certifies it, or what it cannot exceed, once that is no more than `least`."""
        smoothed = SmoothedClassifier(self.classifier, Isotropic(sigma, self.dim), self.norm)
        draws, right, left = iter(self.stream(Purpose.PILOT).draws(samples, self.batch)), 0, samples
        while (size := sigma * self._certified(right + left, samples)) > least and left:
            part = next(draws)
            right, left = right + int(hard_counts(smoothed, self.x, [part])[self.label]), left - part.size
        return size

    def _certified(self, right: int, samples: int) -> float:
        """The radius rho that so many right answers of so many pilot samples certify."""
        return self.family.radius(clopper_pearson(right, samples, PILOT_ALPHA))

    def pilot_radius(self, scale: Scale, samples: int) -> float:
        """The radius rho that pilot samples certify for the label; 0 where they certify nothing.

        The pilot samples of all the scales of an input come from the same z, so that their order is not one of luck.
        """
        counts = self.counts(scale, samples, Purpose.PILOT)
        return self._certified(int(counts[self.label]), samples)

    def counts(self, scale: Scale, samples: int, purpose: Purpose) -> Tensor:
        """Hard counts at this input."""
        smoothed = SmoothedClassifier(self.classifier, scale, self.norm)
        return hard_counts(smoothed, self.x, self.stream(purpose).draws(samples, self.batch))

    def stream(self, purpose: Purpose) -> Stream:
        """The random numbers of a purpose for this input."""
        return Stream(self.seed, self.index, purpose)

    def ascent(self, step: int) -> torch.Generator:
        """The generator of one step of a search for C."""
        return self.stream(Purpose.ASCENT).child(step).generator(self.x.device)

    def draw(self, count: int, step: int) -> Float[Tensor, "n d"]:
        """`count` rows z of the family for one step of a search for C."""
        return self.family.draw(count, self.x, self.ascent(step))


@runtime_checkable
class SharedScale(Protocol):
    """What optimises the one scale that all inputs share or start from."""

    def known(
        self, classifier: Classifier, reference: Reference, sigma: float, seed: int, track: Track = untracked
    ) -> Scale:
        """The scale of a classifier, optimised on the first call."""
        ...

    def adopt(self, classifier: Classifier, scale: Scale, *, sigma: float, seed: int = 0) -> None:
        """Use a scale that was optimised before."""
        ...


class Method(BaseModel, ABC):
    """A method's hyper-parameters, checked when it is made; `propose` finds a noise scale for one input.

    `norm` is that of the certificates which it proposes for: l2 with Gaussian noise, l1 with uniform noise.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, arbitrary_types_allowed=True
    )
    norm: Norm = "l2"

    def propose(
        self,
        classifier: Classifier,
        x: Float[Tensor, "*shape"],
        *,
        sigma: float,
        reference: Reference | tuple[Any, Any] | None = None,
        seed: int = 0,
        index: int = 0,
        sigma_x: float | None = None,
        batch: int = 256,
    ) -> Proposal:
        """A scale for the input `x` (its own shape, no batch axis) of a classifier trained under sigma z.

        `reference` are labelled training inputs, which a guarded method needs. `sigma_x` spares the search for the
        best isotropic noise level where it is known. Random numbers are keyed by (seed, index). A numerical failure
        is a status of the proposal. Raises ValueError for arguments out of range, an input that is not finite floating
        point, a network in train mode, or one whose answers are not logits of one input each.
        """
        for name, value in {"sigma": sigma, "sigma_x": sigma if sigma_x is None else sigma_x}.items():
            if isinstance(value, str) or not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be a finite and positive number, not {value!r}")
        if batch < 1:
            raise ValueError(f"batch must be at least 1, not {batch}")
        check_evaluates(classifier)
        x = owned_input(x, index)
        self.require(x.shape)
        check_contract(classifier, x)
        self.require_gradient(classifier, x)
        if reference is not None:
            reference = Reference.of(reference).to(x.device)
            with torch.inference_mode():
                reference.require(logits_of(classifier, x[None].clone()).shape[1])
        problem = Problem(classifier, x, sigma, reference, seed, index, batch, sigma_x, norm=self.norm)
        try:
            with held(classifier):
                return replace(self.solve(problem), x=x)
        except (FloatingPointError, LinAlgError) as error:
            return Proposal(Isotropic(sigma, x.numel()), f"failed: {error}", sigma, x=x)

    def require(self, shape: Sequence[int]) -> None:
        """Raises ValueError, with the reason, where the method cannot do its norm, or inputs of this shape."""

    def require_gradient(self, classifier: Classifier, x: Float[Tensor, "*shape"]) -> None:
        """Raises ValueError where the method needs the gradient of a classifier that has none, or that fails."""
        if not self.uses_gradient:
            return
        with torch.inference_mode(False), torch.enable_grad():
            differentiable = logits_of(classifier, torch.stack([x, x]).requires_grad_().clone()).requires_grad
        if not differentiable:
            raise ValueError(
                f"classifier: its answers have no gradient, which {type(self).__name__} needs: take RS or DDRS with "
                "its grid search, certify a C that is given (Given), or give the network that it was made from"
            )

    @property
    def uses_gradient(self) -> bool:
        """Whether the method needs the gradient of the classifier."""
        return True

    @property
    def uses_sigma_x(self) -> bool:
        """Whether the method starts from sigma_x."""
        return False

    @property
    def shared_scale(self) -> SharedScale | None:
        """What optimises the scale that all inputs share or start from, if the method has one."""
        return None

    @property
    def one_scale(self) -> bool:
        """Whether all inputs get the same scale, so that G_C is one fixed classifier."""
        return self.shared_scale is self

    @property
    def same_scale(self) -> bool:
        """Whether the C of all inputs is the same, found or not: what it is worth is then measured once."""
        return self.one_scale

    @property
    def contents(self) -> dict[str, str]:
        """Of the settings that name a file, a digest of what it holds: the place of a file decides nothing."""
        return {}

    @abstractmethod
    def solve(self, problem: Problem) -> Proposal:
        """The method's own work on a checked problem."""
