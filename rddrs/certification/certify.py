"""The one routine that certifies every proposal (METHOD section 2; Cohen et al. 2019, algorithm CERTIFY)."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rddrs.certification.terms import ABSTAIN, Bound, Count, Terms
from rddrs.noise import Family, Norm, Purpose, Scale, Stream, family_of, owned, require_tensor
from rddrs.options import check_whole
from rddrs.rounding import round_down
from rddrs.smoothing import (
    Asked,
    Classifier,
    Decision,
    SmoothedClassifier,
    check_classes,
    check_contract,
    check_evaluates,
    owned_inputs,
    running_counts,
    shared_counts,
)


@dataclass(frozen=True, eq=False)
class Certificate:
    """The prediction of G_C is constant on { x + delta : |C^-1 delta|_2 < radius }, at confidence 1 - alpha.

    With the `norm` l1 the noise is uniform, the region is |B^-1 delta|_1 < radius, B the factor of C that makes the
    noise: C itself, but Q diag(lambda) of a `Kronecker`; balls are those of the l1 norm.

    `prediction` is -1 for an abstention, and then every radius is 0. `counts` are those of the `samples` certification
    samples (fewer in sum where the classifier answered NaN), `selection_counts` those that chose the class. With the
    seed, the index and the micro-batch `batch` they can be drawn again, bit for bit on the same machine.
    `decision` is that about a target radius, where one was asked for: `samples` are then those that it took.
    With a `grid`, a step h, the base classifier is F'(u) = F(h round(u / h)), and x stands for its place on the grid.
    A certificate owns its numbers: it copies `x`, and its scale owns those of C.
    """

    x: Float[Tensor, "*shape"]
    scale: Scale
    prediction: int
    p_lower: float
    radius: float
    selection_counts: tuple[int, ...]
    counts: tuple[int, ...]
    alpha: float
    seed: int
    index: int
    samples: int = field(kw_only=True)
    selection_samples: int = field(default=100, kw_only=True)
    batch: Count = field(default=256, kw_only=True)
    bound: Bound = field(default="clopper_pearson", kw_only=True)
    decision: Decision | None = field(default=None, kw_only=True)
    norm: Norm = field(default="l2", kw_only=True)
    grid: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "x", owned(self.x))

    def to(self, device: torch.device | str) -> "Certificate":
        """The same certificate on another device."""
        return replace(self, x=self.x.to(device), scale=self.scale.to(device))

    def __repr__(self) -> str:
        answer = "abstention" if self.prediction == ABSTAIN else f"class {self.prediction}"
        radii = ", ".join(f"{name} {value}" for name, value in self._radii.items())
        return f"Certificate(input {self.index}: {answer}, {radii}, n = {self.samples}, alpha = {self.alpha})"

    def _repr_html_(self) -> str:
        from rddrs.pictures import card

        return card(repr(self), self.x, self.scale, self._radii)

    @property
    def _radii(self) -> dict[str, str]:
        """The three radii as text, rounded down."""
        radii = {"radius": self.radius, "ball": self.ball_radius, "proxy": self.proxy_radius}
        return {name: round_down(value) for name, value in radii.items()}

    @property
    def terms(self) -> Terms:
        """The terms that it states; what was asked for of a target radius it does not."""
        return Terms(**{name: getattr(self, name) for name in _asked(Terms)})

    def under(self, terms: Terms) -> "Certificate":
        """The certificate with the terms that were asked for in the place of those that it states."""
        asked: dict[str, Any] = {name: getattr(terms, name) for name in _asked(terms)}
        if terms.target_radius is not None:
            asked |= {"samples": min(self.samples, terms.samples), "bound": "sequential"}
        return replace(self, **asked)

    def differences(self, terms: Terms) -> dict[str, tuple[object, object]]:
        """The terms that it does not state as they were asked for: its own and the right one, by name."""
        right = self.under(terms)
        pairs = {name: (getattr(self, name), getattr(right, name)) for name in _asked(terms)}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}

    def proven(self, terms: Terms) -> "Certificate":
        """What its counts prove under the terms, whatever class, bound and radius it states."""
        found = terms.prove(self.selection_counts, self.counts, self.scale, index=self.index, drawn=self.samples)
        return replace(self.under(terms), **vars(found))

    @property
    def family(self) -> Family:
        """The family of the noise."""
        return family_of(self.norm)

    def smoothed(self, classifier: Classifier) -> SmoothedClassifier:
        """The G_C that it speaks of, of this base classifier."""
        return SmoothedClassifier(classifier, self.scale, self.norm, self.grid)

    def stream(self, purpose: Purpose) -> Stream:
        """The random numbers of a purpose for its input, of the seed that it states."""
        return Stream(self.seed, self.index, purpose)

    @property
    def ball_radius(self) -> float:
        """The radius of the largest ball of the norm inside the region: rho min(lambda) of l2."""
        return self.radius * self.family.ball(self.scale)

    @property
    def proxy_radius(self) -> float:
        """rho det(C)^(1/d): the radius of the ball with the region's volume."""
        return self.radius * self.scale.geometric_mean

    @cached_property
    def log_volume(self) -> float:
        """The logarithm of the region's volume; -inf for an abstention."""
        if self.radius == 0:
            return -math.inf
        dim = self.scale.dim
        return dim * math.log(self.radius) + self.scale.log_det + self.family.log_unit_ball(dim)

    def contains(self, points: Float[Tensor, "n *shape"]) -> Bool[Tensor, " n"]:
        """Which of the points, each of the input's shape, lie in the region; on the certificate's device."""
        check_points(points, self.x.shape)
        delta = (points.to(self.x.device).double() - self.x.double()).flatten(1)
        return self.family.length(delta, self.scale) * (1 + self.scale.rounding) < self.radius


def check_points(points: Tensor, shape: Sequence[int]) -> None:
    """Raises ValueError for anything else than a tensor of points of this shape."""
    require_tensor("points", points)
    if tuple(points.shape[1:]) != tuple(shape):
        told = f"{list(points.shape)}: [n, {', '.join(map(str, shape))}] is needed; one point is point[None]"
        raise ValueError(f"points of shape {told}")


def are_counts(counts: Sequence[Any], samples: int | None = None) -> bool:
    """Whether they can be counts: whole numbers, of so many samples no more in sum."""
    whole = all(type(it) is int and it >= 0 for it in counts)
    return whole and (samples is None or sum(counts) <= samples)


def _asked(terms: Terms | type[Terms]) -> list[str]:
    """The names of the terms that a certificate states, too."""
    stated = {each.name for each in fields(Certificate)}
    return [each.name for each in fields(terms) if each.name in stated]


def certify(
    classifier: Classifier,
    x: Float[Tensor, "*shape"],
    scale: Scale,
    *,
    samples: int = Terms.samples,
    selection_samples: int = Terms.selection_samples,
    alpha: float = Terms.alpha,
    bound: Bound = Terms.bound,
    target_radius: float | None = Terms.target_radius,
    norm: Norm = Terms.norm,
    grid: float | None = Terms.grid,
    seed: int = Terms.seed,
    index: int = 0,
    batch: int = 256,
    workers: int = 1,
) -> Certificate:
    """Certify the smoothed classifier G_C at one input `x` (its own shape, no batch axis).

    `selection_samples` draws choose the class, `samples` fresh ones count it, and the one-sided `bound` at `alpha`
    gives rho(p_lower) of the family of the `norm`: Phi^-1(p) for Gaussian noise and l2, 2 p - 1 for uniform noise
    on C [-1, 1]^d and l1; where the bound is at most 1/2 the certificate abstains. Warns where so few
    samples can certify nothing. The scale is moved to the input's device and rounded to its precision first. Raises
    ValueError for arguments out of range, an input that is not finite float32 or float64, a network in train mode,
    answers that are not logits [n, k] with one k >= 2, and answers that do not depend on their own input alone.

    With a `target_radius` R, in the input's own units, the only question is whether the region holds the norm's ball of
    radius R, in l2 whether rho >= R / min(lambda). Sampling stops as soon as that is decided, after `samples` at the
    latest, and `bound` is "sequential". The decision `yes` gives the rho that was asked for and no more; `no` (G_C
    answers the class with less than the probability that this rho needs) and `undecided` give an abstention.
    `yes` is false with probability at most `alpha`, and so is `no`.

    With a `grid`, a step h of which every entry of every legal input is a multiple, the certificate is about F'(u) =
    F(h round(u / h)) and closes the hole of floating point (METHOD section 11): noise is rounded alone, its sum with x
    is exact, so that the distribution that is sampled is the same for all x on the grid, bit for bit, and F' is the
    network as it runs, rounding included. What is not proven is that torch's pseudo-random z, and the product C z in
    floating point, have the exact distribution: their error, the same for all x on the grid, is not counted. Without
    a grid, and off it, the rounding of x + C z depends on x and is not counted either. Raises ValueError where x is not
    on the grid.
    """
    terms = Terms(samples, selection_samples, alpha, bound, target_radius, norm, grid, seed)
    (found,) = certify_together(classifier, [x], [scale], terms, [index], batch=batch, workers=workers)
    return found


def certify_together(
    classifier: Classifier,
    inputs: Sequence[Float[Tensor, "*shape"]],
    scales: Sequence[Scale],
    terms: Terms,
    indices: Sequence[int],
    *,
    batch: int = 256,
    workers: int = 1,
) -> list[Certificate]:
    """What `certify` finds at each of some inputs on one device, each under its own scale and index.

    On a device other than a CPU their draws share the classifier's micro-batches, as in `shared_counts`: one input
    with few samples leaves it idle. Errors as of `certify`.
    """
    check_whole(batch=batch, workers=workers)
    check_evaluates(classifier)
    if not len(inputs):
        return []
    inputs = owned_inputs(inputs, indices)
    for x, scale in zip(inputs, scales, strict=True):
        if not isinstance(scale, Scale):
            raise ValueError(f"scale={scale!r}: a scale is needed, as rddrs.Isotropic(0.25, dim)")
        if x.numel() != scale.dim:
            raise ValueError(f"x has {x.numel()} entries, the scale has dimension {scale.dim}: they must be equal")
    if terms.largest_radius == 0:
        warnings.warn(f"{terms.samples} samples can certify nothing at alpha = {terms.alpha}: use more", stacklevel=3)
    for x in inputs:
        check_contract(classifier, x, threads=workers > 1)
    # What is certified is the C that the noise is made with. Many inputs may share one.
    kinds = [(id(scale), x.device, x.dtype) for x, scale in zip(inputs, scales, strict=True)]
    of_kind = {
        kind: SmoothedClassifier(classifier, scale.to(*kind[1:]), terms.norm, terms.grid)
        for kind, scale in dict(zip(kinds, scales, strict=True)).items()
    }
    several, asked = [of_kind[kind] for kind in kinds], []
    for smoothed, x, index in zip(several, inputs, indices, strict=True):
        draws = Stream(terms.seed, index, Purpose.SELECTION).draws(terms.selection_samples, batch)
        asked.append(Asked(smoothed, x, draws))
        if terms.target_radius is None:
            draws = Stream(terms.seed, index, Purpose.CERTIFICATION).draws(terms.samples, batch)
            asked.append(Asked(smoothed, x, draws))
    found, certificates = iter(shared_counts(asked, batch, workers)), []
    for smoothed, x, index in zip(several, inputs, indices, strict=True):
        chosen, drawn = next(found), terms.samples
        if terms.target_radius is None:
            counts = next(found)
        else:
            counts, drawn = _decided(smoothed, x, terms, index, int(chosen.argmax()), batch, workers)
        check_classes([len(chosen), len(counts)])
        proof = terms.prove(chosen.tolist(), counts.tolist(), smoothed.scale, index=index, drawn=drawn)
        certificates.append(
            Certificate(
                x=x,
                scale=smoothed.scale,
                **vars(proof),
                selection_counts=tuple(chosen.tolist()),
                counts=tuple(counts.tolist()),
                alpha=terms.alpha,
                seed=terms.seed,
                index=index,
                samples=drawn,
                selection_samples=terms.selection_samples,
                batch=batch,
                bound=terms.bound if terms.target_radius is None else "sequential",
                norm=terms.norm,
                grid=terms.grid,
            )
        )
    return certificates


def _decided(
    smoothed: SmoothedClassifier,
    x: Float[Tensor, "*shape"],
    terms: Terms,
    index: int,
    top: int,
    batch: int,
    workers: int,
) -> tuple[Int[Tensor, " k"], int]:
    """The counts that decide about the target radius, and of how many samples they are."""
    stream = Stream(terms.seed, index, Purpose.CERTIFICATION)
    counts, drawn = torch.zeros(0, dtype=torch.long), 0
    for counts, drawn in running_counts(smoothed, x, stream, terms.samples, batch=batch, workers=workers):
        if top >= len(counts) or terms.decided(int(counts[top]), drawn, smoothed.scale) != "undecided":
            break
    return counts, drawn
