"""Flats of the affine-invariant metric: the scales that commuting geodesics reach (METHOD sections 4.3 and 7).

With the covariance Sigma = C C and orthonormal V, the noise z diag(exp a) V^T C has the covariance

    Sigma(a) = C V diag(exp 2a) V^T C = Exp_Sigma(C V diag(2a) V^T C),

a flat of the affine-invariant metric, in which a is the only unknown: d numbers instead of d (d + 1) / 2. One
product with a fixed matrix makes the noise, so that a step costs little more than the network. A full C is whitened
anew for every flat, V are eigenvectors of the whitened covariance that the first-order model of the margin aims at:
those of the outer product M of the margin's gradients where the aim is volume. In a Kronecker eigenbasis V = Q stays,
and of M, and of the second moments D of a threat's displacements, their diagonals in that basis are all that is needed.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import scipy.fft
import torch
from jaxtyping import Float, Int
from torch import Tensor

from rddrs.data import Inputs
from rddrs.methods.ascent import margins
from rddrs.methods.base import Track, untracked
from rddrs.noise import Full, Kronecker, Scale, rotate, spd
from rddrs.smoothing import Classifier
from rddrs.threats import Threat

LARGEST_FULL = 1_024
"""Up to this dimension `auto` is a full scale."""

SMALLEST, SMALLEST_FULL, EPSILON = 1e-12, 1e-4, 1e-8
"""The smallest eigenvalue of M, as a share of the largest, and the epsilon of D + epsilon I, of trace 1.

A full C aimed at a threat needs the second, so that the geometric mean can be computed, and the third, small enough
for the directions that no part of the threat uses to get no share of the noise.
"""

TIE = 1e-6
"""The least weight of the slopes in a learned basis: they decide among directions that no displacement has."""

VOLUME = Threat()

Structure = Literal["auto", "full", "kronecker"]
Basis = Literal["learned", "dct", "pixel"]


@dataclass(frozen=True, eq=False)
class Aim:
    """What is to grow along a flat: `volume` times log-volume, `weights` times log-severities of a threat's parts.

    `spreads` [k, d] are the parts' mean squared displacements along the flat's axes, in units of their noise levels.
    """

    volume: float
    weights: Float[Tensor, " k"]
    spreads: Float[Tensor, "k d"]

    def __call__(self, a: Float[Tensor, " d"]) -> Float[Tensor, ""]:
        """The weighted sum of (1/d) log det C(a) and of -(1/2) log tr(D_k Sigma(a)^-1), up to a constant."""
        severities = -(self.spreads * (-2 * a).exp()).sum(dim=1).log() / 2
        return self.volume * a.mean() + (self.weights * severities).sum()

    @property
    def shares(self) -> Float[Tensor, " d"]:
        """How much each axis matters: the gradient at a = 0; their sum is 1."""
        relative = self.spreads / self.spreads.sum(dim=1, keepdim=True)
        return self.volume / self.spreads.shape[1] + self.weights @ relative


class Flat(ABC):
    """The scales that a in R^d reaches from C; a = 0 is C itself.

    Up to a factor `target` is the covariance, along each of the flat's axes in units of its noise level, that the
    first-order model aims at; `aim` is what is to grow.
    """

    target: Float[Tensor, " d"]
    aim: Aim

    @abstractmethod
    def noise(self, a: Float[Tensor, " d"], z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Noise of the covariance Sigma(a), a row for every standard normal row."""

    @abstractmethod
    def aligned(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Rows of which `noise` with a = 0 makes C z."""

    @abstractmethod
    def lowest(self, floor: float) -> Float[Tensor, " d"]:
        """The a below which an axis' noise level would be under the floor."""

    @abstractmethod
    def scale(self, a: Float[Tensor, " d"], floor: float) -> Full | Kronecker:
        """The square root C of Sigma(a), its eigenvalues raised to the floor."""


class FullFlat(Flat):
    """The flat at a full C = `matrix` whose axes are the eigenvectors V of the whitened covariance that is aimed at.

    `moment` is the whitened M, `spreads` the whitened D of each part of the threat, all [d, d].
    """

    def __init__(
        self, matrix: Float[Tensor, "d d"], moment: Float[Tensor, "d d"], threat: Threat, spreads: Sequence[Tensor]
    ) -> None:
        values, vectors = torch.linalg.eigh(spd.symmetric(moment.double()))
        target = 1 / values.clamp_min(SMALLEST * values[-1])
        if spreads:
            values = values.clamp_min(SMALLEST_FULL * values[-1])
            inverse = (vectors * (values.sum() / values)) @ vectors.mT
            feared = sum(weight / it.trace() * it.double() for weight, it in zip(threat.weights, spreads, strict=True))
            half = threat.volume / len(matrix) / 2
            regular = EPSILON * torch.eye(len(matrix), device=matrix.device, dtype=torch.float64)
            aimed = half * inverse + spd.geometric_mean(inverse, feared + half**2 * inverse + regular)
            target, vectors = torch.linalg.eigh(aimed)
        self.vectors = vectors.to(matrix.dtype)
        self.factor = (vectors.mT @ matrix.double()).to(matrix.dtype)
        self.target = target.to(matrix.dtype)
        rows = [torch.einsum("ji,jk,ki->i", vectors, it.double(), vectors) for it in spreads]
        self.aim = Aim(threat.volume, *weighed(threat, rows, self.target))

    def noise(self, a: Float[Tensor, " d"], z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return (z * a.exp()) @ self.factor

    def aligned(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return z @ self.vectors

    def lowest(self, floor: float) -> Float[Tensor, " d"]:
        return (floor / self.factor.norm(dim=1)).log()

    def scale(self, a: Float[Tensor, " d"], floor: float) -> Full:
        half = self.factor.double() * a.double().exp()[:, None]
        values, vectors = spd.floored_spectrum(half.mT @ half, floor**2)
        return Full(spd.compose(values.sqrt(), vectors).to(self.factor.dtype))


class KroneckerFlat(Flat):
    """The flat at a Kronecker C in its own eigenbasis Q.

    `moment` is the diagonal of the whitened M, `spreads` those of the whitened D of each part of the threat, all [d].
    """

    def __init__(self, base: Kronecker, moment: Float[Tensor, " d"], threat: Threat, spreads: Sequence[Tensor]) -> None:
        self._factors, self._values = base.factors, base.values
        inverse = moment.sum() / moment.clamp_min(SMALLEST * moment.max())
        half = threat.volume / len(moment) / 2
        feared = sum((weight / it.sum() * it for weight, it in zip(threat.weights, spreads, strict=True)), 0 * moment)
        target = half * inverse + ((feared + half**2 * inverse) * inverse).sqrt()
        self.target = target.clamp_min(SMALLEST * target.max()).to(self._values)
        self.aim = Aim(threat.volume, *weighed(threat, spreads, self.target))

    def noise(self, a: Float[Tensor, " d"], z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return rotate(z * (a.exp() * self._values.flatten()), self._factors, self._values.shape)

    def aligned(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return rotate(z, [factor.mT for factor in self._factors], self._values.shape)

    def lowest(self, floor: float) -> Float[Tensor, " d"]:
        return (floor / self._values.flatten()).log()

    def scale(self, a: Float[Tensor, " d"], floor: float) -> Kronecker:
        return Kronecker(self._factors, (self._values * a.exp().view_as(self._values)).clamp_min(floor))


def weighed(threat: Threat, rows: Sequence[Tensor], like: Float[Tensor, " d"]) -> tuple[Tensor, Tensor]:
    """The weights of a threat's parts and their displacements along a flat's axes, as tensors."""
    spreads = torch.stack([*rows]) if rows else torch.zeros(0, len(like))
    return torch.tensor(threat.weights).to(like), spreads.to(like)


def flat_at(base: Full | Kronecker, moment: Tensor, threat: Threat = VOLUME, spreads: Sequence[Tensor] = ()) -> Flat:
    """The flat at C for the M and the D_k that `fold` made.

    Its target solves Sigma M Sigma / tr(M) = (volume / d) Sigma + sum_k weights_k D_k / tr(D_k), in whitened units:
    where the weighted sum of log R, the log-volume and the log-severities is stationary at Sigma = I. Of the volume
    alone that is M^-1, of a threat alone the geometric mean M^-1 # D (METHOD section 8); else the square is completed.
    """
    if isinstance(base, Kronecker):
        return KroneckerFlat(base, moment, threat, spreads)
    return FullFlat(base.matrix, moment, threat, spreads)


def fold(rows: Iterable[Float[Tensor, "n d"]], base: Full | Kronecker) -> Tensor:
    """The mean of w w^T over whitened rows w: [d, d] for a full C, its diagonal in Q, [d], for a Kronecker C."""
    total, count = torch.zeros(()), 0
    for part in rows:
        total = total + (part.square().sum(dim=0) if isinstance(base, Kronecker) else part.mT @ part)
        count += len(part)
    return total / count


def moment_of(slopes: Iterable[Float[Tensor, "n d"]], base: Full | Kronecker) -> Tensor:
    """The whitened M, of C g for the margin's gradients g."""
    if isinstance(base, Kronecker):
        turns, levels = [factor.mT for factor in base.factors], base.values.flatten()
        return fold((rotate(part, turns, base.values.shape) * levels for part in slopes), base)
    matrix = base.matrix
    return fold((part @ matrix for part in slopes), base)


def spreads_of(threat: Threat, inputs: Float[Tensor, "m *shape"], base: Full | Kronecker) -> list[Tensor]:
    """The whitened D_k of each part of a threat, of the coordinates in the region's axes of the displacements."""
    parts = (threat.displacements(it, inputs) for it in threat.perturbations)
    return [fold(map(base.coordinates, rows), base) for rows in parts]


def trace(moment: Tensor) -> Tensor:
    """The trace of what `fold` made."""
    return moment.trace() if moment.ndim == 2 else moment.sum()


def slopes(
    classifier: Classifier,
    inputs: Float[Tensor, "m *shape"] | Inputs,
    labels: Int[Tensor, " m"],
    chosen: Int[Tensor, " n"],
    scale: Scale,
    draw: Callable[[int], Float[Tensor, "b d"]],
    temperature: float = 1.0,
    batch: int = 128,
    track: Track = untracked,
) -> Iterator[Float[Tensor, "b d"]]:
    """The margin's gradients g at x + C z, for every chosen input x, a micro-batch at a time; `draw(b)` gives z."""
    for part in track(chosen.split(batch), "gradients of the margin"):
        points = inputs[part].to(labels.device)
        noisy = (points.flatten(1) + scale.noise(draw(len(part)))).view_as(points).requires_grad_()
        found = margins(classifier(noisy), labels[part], temperature)
        yield torch.autograd.grad(found.sum(), noisy)[0].flatten(1)


def structured(
    scale: Scale,
    structure: Structure,
    basis: Basis,
    inputs: Float[Tensor, "m *shape"],
    found: Callable[[], Iterable[Float[Tensor, "n d"]]],
    threat: Threat = VOLUME,
) -> Full | Kronecker:
    """An isotropic scale as a full or a Kronecker one; one that is either already stays what it is.

    `auto` is full up to d = 1,024. `found()` gives the slopes, and the threat displaces the `inputs`, that a learned
    basis is made from. Raises ValueError where the scale has another structure than the one that is asked for.
    """
    if isinstance(scale, Full | Kronecker):
        if structure not in ("auto", type(scale).__name__.lower()):
            raise ValueError(f"structure={structure}: the scale to start from is {type(scale).__name__}: use auto")
        return scale
    if structure == "full" or (structure == "auto" and scale.dim <= LARGEST_FULL):
        return Full(scale.matrix.to(inputs))
    shape = inputs.shape[1:]
    values = torch.full(tuple(shape), scale.geometric_mean).to(inputs)
    if basis != "learned":
        factors = [FIXED[basis](size) for size in shape]
    else:
        displaced = [threat.displacements(it, inputs) for it in threat.perturbations]
        weights = [max(threat.volume, TIE), *threat.weights]
        sums = zip(*(moments(rows, shape) for rows in (found(), *displaced)), strict=True)
        factors = [
            torch.linalg.eigh(sum(weight * it for weight, it in zip(weights, axis, strict=True))).eigenvectors
            for axis in sums
        ]
    return Kronecker([factor.to(inputs) for factor in factors], values)


def cosines(size: int) -> Float[Tensor, "n n"]:
    """The orthonormal cosine basis, type II, a column each, float64."""
    return torch.from_numpy(np.asarray(scipy.fft.dct(np.eye(size), norm="ortho", axis=0)).T.copy())


FIXED = {"dct": cosines, "pixel": partial(torch.eye, dtype=torch.float64)}
"""The factors Q_i of the bases that are not learned, float64, by their size."""


def moments(rows: Iterable[Float[Tensor, "n d"]], shape: Sequence[int]) -> list[Tensor]:
    """E[sum over the other axes of g g^T] of each axis, [n, n], of trace 1, float64: a learned basis."""
    found = [torch.zeros(size, size, dtype=torch.float64) for size in shape]
    for part in rows:
        tensor = part.double().cpu().view(-1, *shape)
        for axis, moment in enumerate(found, start=1):
            folded = tensor.movedim(axis, -1).reshape(-1, len(moment))
            moment += folded.mT @ folded
    return [moment / moment.trace() for moment in found]
