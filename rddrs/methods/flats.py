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
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rddrs.noise import Full, Isotropic, Kronecker, Scale, rotate, spd
from rddrs.threats import VOLUME, Threat

SMALLEST, SMALLEST_FULL, EPSILON = 1e-12, 1e-4, 1e-8
"""The smallest eigenvalue of M, as a share of the largest, and the epsilon of D + epsilon I, of trace 1.

A full C aimed at a threat needs the second, so that the geometric mean can be computed, and the third, small enough
for the directions that no part of the threat uses to get no share of the noise.
"""


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
        """Rows of which `noise` with a = 0 makes B z."""

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
        return z

    def lowest(self, floor: float) -> Float[Tensor, " d"]:
        return (floor / self._values.flatten()).log()

    def scale(self, a: Float[Tensor, " d"], floor: float) -> Kronecker:
        return Kronecker(self._factors, (self._values * a.exp().view_as(self._values)).clamp_min(floor))


def raised(scale: Scale, floor: float) -> Scale:
    """A scale, isotropic, full or Kronecker, with its eigenvalues raised to the floor."""
    if isinstance(scale, Isotropic):
        return Isotropic(max(floor, scale.geometric_mean), scale.dim)
    if isinstance(scale, Kronecker):
        return Kronecker(scale.factors, scale.values.clamp_min(floor))
    return Full(spd.compose(*spd.floored_spectrum(scale.matrix, floor)).to(scale.matrix.dtype))


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
