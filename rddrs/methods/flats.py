"""Flats of the affine-invariant metric: the scales that commuting geodesics reach (METHOD sections 4.3 and 7).

With the covariance Sigma = C C and orthonormal V, the noise z diag(exp a) V^T C has the covariance

    Sigma(a) = C V diag(exp 2a) V^T C = Exp_Sigma(C V diag(2a) V^T C),

a flat of the affine-invariant metric, in which a is the only unknown: d numbers instead of d (d + 1) / 2. One
product with a fixed matrix makes the noise, so that a step costs little more than the network. A full C is whitened
anew for every flat, V are eigenvectors of the whitened outer product M of the margin's gradients. In a Kronecker
eigenbasis V = Q stays, and of M its diagonal in that basis is all that is needed.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

import numpy as np
import scipy.fft
import torch
from jaxtyping import Float, Int
from torch import Tensor

from rddrs.data import Inputs
from rddrs.methods.ascent import margins
from rddrs.noise import Full, Kronecker, Scale, rotate, spd
from rddrs.smoothing import Classifier

LARGEST_FULL = 1_024
"""Up to this dimension `auto` is a full scale."""

Structure = Literal["auto", "full", "kronecker"]
Basis = Literal["learned", "dct", "pixel"]


class Flat(ABC):
    """The scales that a in R^d reaches from C; a = 0 is C itself.

    `sensitivity` is the margin's mean squared slope along each of the flat's axes, in units of their noise levels.
    """

    sensitivity: Float[Tensor, " d"]

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
    """The flat at a full C = `matrix` spanned by the eigenvectors V of a whitened outer product, [d, d]."""

    def __init__(self, matrix: Float[Tensor, "d d"], whitened: Float[Tensor, "d d"]) -> None:
        values, vectors = torch.linalg.eigh(spd.symmetric(whitened.double()))
        self.vectors = vectors.to(matrix.dtype)
        self.factor = (vectors.mT @ matrix.double()).to(matrix.dtype)
        self.sensitivity = values.clamp_min(0).to(matrix.dtype)

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
    """The flat at a Kronecker C in its own eigenbasis Q; `squares` is the diagonal of the whitened M, [d]."""

    def __init__(self, base: Kronecker, squares: Float[Tensor, " d"]) -> None:
        self._factors, self._values = base.factors, base.values
        self.sensitivity = squares.to(self._values)

    def noise(self, a: Float[Tensor, " d"], z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return rotate(z * (a.exp() * self._values.flatten()), self._factors, self._values.shape)

    def aligned(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return rotate(z, [factor.mT for factor in self._factors], self._values.shape)

    def lowest(self, floor: float) -> Float[Tensor, " d"]:
        return (floor / self._values.flatten()).log()

    def scale(self, a: Float[Tensor, " d"], floor: float) -> Kronecker:
        return Kronecker(self._factors, (self._values * a.exp().view_as(self._values)).clamp_min(floor))


def flat_at(base: Full | Kronecker, moment: Tensor) -> Flat:
    """The flat at C that a moment of `fold` spans."""
    return KroneckerFlat(base, moment) if isinstance(base, Kronecker) else FullFlat(base.matrix, moment)


def fold(slopes: Iterable[Float[Tensor, "n d"]], base: Full | Kronecker) -> Tensor:
    """The whitened M, the mean of C g g^T C: [d, d] for a full C, its diagonal in Q, [d], for a Kronecker C."""
    if isinstance(base, Kronecker):
        turns, levels = [factor.mT for factor in base.factors], base.values.flatten()
    else:
        matrix = base.matrix
    total, count = torch.zeros(()), 0
    for part in slopes:
        if isinstance(base, Kronecker):
            total = total + (rotate(part, turns, base.values.shape) * levels).square().sum(dim=0)
        else:
            whitened = part @ matrix
            total = total + whitened.mT @ whitened
        count += len(part)
    return total / count


def trace(moment: Tensor) -> Tensor:
    """The trace of the M that `fold` made."""
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
) -> Iterator[Float[Tensor, "b d"]]:
    """The margin's gradients g at x + C z, for every chosen input x, a micro-batch at a time; `draw(b)` gives z."""
    for part in chosen.split(batch):
        points = inputs[part].to(labels.device)
        noisy = (points.flatten(1) + scale.noise(draw(len(part)))).view_as(points).requires_grad_()
        found = margins(classifier(noisy), labels[part], temperature)
        yield torch.autograd.grad(found.sum(), noisy)[0].flatten(1)


def structured(
    scale: Scale, structure: Structure, basis: Basis, shape: Sequence[int], found: Callable[[], Iterable[Tensor]]
) -> Full | Kronecker:
    """An isotropic scale as a full or a Kronecker one; one that is either already stays what it is.

    `auto` is full up to d = 1,024. `found()` gives the slopes that a learned basis is made from. Raises ValueError
    where the scale has another structure than the one that is asked for.
    """
    if isinstance(scale, Full | Kronecker):
        if structure not in ("auto", type(scale).__name__.lower()):
            raise ValueError(f"structure={structure}: the scale to start from is {type(scale).__name__}: use auto")
        return scale
    rows = next(iter(found()))
    if structure == "full" or (structure == "auto" and scale.dim <= LARGEST_FULL):
        return Full(scale.matrix.to(rows))
    factors = eigenbasis(basis, shape, found())
    return Kronecker([factor.to(rows) for factor in factors], torch.full(tuple(shape), scale.geometric_mean).to(rows))


def eigenbasis(basis: Basis, shape: Sequence[int], found: Iterable[Float[Tensor, "n d"]]) -> list[Float[Tensor, "n n"]]:
    """The factors Q_i of a basis, float64.

    `learned`: the eigenvectors of E[sum over the other axes of g g^T]; `dct`: type II, orthonormal; `pixel`: the
    identity.
    """
    if basis == "pixel":
        return [torch.eye(size, dtype=torch.float64) for size in shape]
    if basis == "dct":
        return [
            torch.from_numpy(np.asarray(scipy.fft.dct(np.eye(size), norm="ortho", axis=0)).T.copy()) for size in shape
        ]
    moments = [torch.zeros(size, size, dtype=torch.float64) for size in shape]
    for part in found:
        tensor = part.double().cpu().view(-1, *shape)
        for axis, moment in enumerate(moments, start=1):
            rows = tensor.movedim(axis, -1).reshape(-1, len(moment))
            moment += rows.mT @ rows
    return [torch.linalg.eigh(moment).eigenvectors for moment in moments]
