"""What every noise scale is: the symmetric positive definite C of the noise B z, B = C U with an orthogonal U.

A scale acts on flattened inputs of dimension d, a row each, by three operators: B z, B^-1 delta and B^T w. C is a
scale, never a covariance: the noise's covariance is B B^T = C C. B is C itself but of a `Kronecker`. |B^-1 delta|_2 is
|C^-1 delta|_2, whatever U is; other norms, and noise that is not isotropic, are those of B.
"""

from abc import ABC, abstractmethod
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from rddrs.digests import digest


def owned(tensor: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """A contiguous copy without a gradient: no later change of the original reaches it, and any kernel may read it."""
    return tensor.detach().clone(memory_format=torch.contiguous_format)


class Axis(NamedTuple):
    """An axis of a region: its rank from the longest, 1, its eigenvalue and unit eigenvector of C, float64."""

    rank: int
    value: float
    vector: Tensor


class Scale(ABC):
    """A symmetric positive definite d x d noise scale C, in the input's own units; `matrix` is C, dense.

    A scale owns its numbers: it copies those that it is made from, and a change of those that it hands out (`matrix`,
    `eigenvalues`, `tensors()`) does not change it. Inputs and noise may have any layout in memory.
    """

    dim: int
    matrix: Float[Tensor, "d d"]

    def __repr__(self) -> str:
        values = self.deviations()
        return (
            f"{type(self).__name__}(dim={self.dim}, deviations {values.min().item():.3g} to {values.max().item():.3g})"
        )

    @property
    def eigenvalues(self) -> Float[Tensor, " d"]:
        """The eigenvalues lambda of C, ascending, float64; where they must be computed, lower bounds of them."""
        return self._ascending.clone()

    @property
    @abstractmethod
    def _ascending(self) -> Float[Tensor, " d"]:
        """The eigenvalues, which nobody else sees."""

    @property
    def rounding(self) -> float:
        """How much too short a computed |B^-1 delta| may be, as a share of it."""
        return 8 * self.dim * torch.finfo(torch.float64).eps

    @abstractmethod
    def spread(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """B z for every row z, with a gradient: the noise."""

    @abstractmethod
    def whiten(self, delta: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """B^-1 delta for every row delta, float64."""

    def slopes(self, w: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """B^-T w for every row w, float64: the gradient of |B^-1 delta|^2 / 2 where w is B^-1 delta. Here B is C."""
        return self.whiten(w)

    def extent(self, w: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """B^T w for every row w: w . (B u) reaches its dual norm for |u| = 1. Here B is symmetric, but for rounding."""
        return self.spread(w)

    def turned(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """U^T z for every row z: what B makes C z of, the same distribution where z is isotropic. Here B is C."""
        return z

    @abstractmethod
    def perturb(self, x: Float[Tensor, " d"], z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """x + B z for every row z, as fast as can be, without a gradient; `z` may be overwritten.

        The entries of z may stand for those of any order.
        """

    @property
    @abstractmethod
    def cross_polytope(self) -> float:
        """1 / max_j |B^-1 e_j|_1: the radius of the largest l1 ball that |B^-1 delta|_1 <= 1 holds, rounded down."""

    @property
    def norm(self) -> float:
        """max |C u| for |u| = 1, not rounded down."""
        return self.eigenvalues[-1].item()

    @abstractmethod
    def deviations(self) -> Float[Tensor, " d"]:
        """The standard deviation of the noise in every coordinate: the norms of the rows of C, float64."""

    @abstractmethod
    def axes(self, first: int, last: int = 0) -> list[Axis]:
        """The `first` longest and `last` shortest axes of the region, each once; of equal ones any."""

    @abstractmethod
    def scaled(self, factor: float) -> "Scale":
        """The scale factor * C."""

    @abstractmethod
    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "Scale":
        """The same scale on another device, its numbers rounded to `dtype` where it is given.

        No tensor that is there already is copied.
        """

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """The smallest set of tensors that `from_tensors` rebuilds the scale from: copies."""

    @cached_property
    def digest(self) -> str:
        """What tells this C, to the last bit, and its precision from any other."""
        return digest(type(self).__name__, self.tensors())

    @property
    def covariance(self) -> Float[Tensor, "d d"]:
        """C C, the covariance of the noise, float64."""
        matrix = self.matrix.double()
        return matrix @ matrix

    @cached_property
    def log_det(self) -> float:
        """log det C."""
        return self.eigenvalues.log().sum().item()

    @property
    def geometric_mean(self) -> float:
        """det(C)^(1/d), the geometric mean of the eigenvalues."""
        return float(torch.exp(torch.tensor(self.log_det / self.dim, dtype=torch.float64)))


def require_tensor(name: str, value: object) -> None:
    """Raises ValueError, with what to do, for anything else than a tensor."""
    if not isinstance(value, Tensor):
        told = f"{name} is a {type(value).__name__}, not a torch.Tensor"
        raise ValueError(f"{told}: torch.from_numpy(numpy.ascontiguousarray({name.split()[0]}))")


def require_numbers(name: str, value: Tensor) -> None:
    """Raises ValueError for anything else than a dense tensor of real floating-point numbers, one at least."""
    require_tensor(name, value)
    real = value.is_floating_point() and value.itemsize > 1
    if not (real and value.layout is torch.strided and value.numel()):
        kind = f"{value.dtype} tensor of shape {list(value.shape)}, {value.layout}"
        raise ValueError(f"{name} is a {kind}: dense real floating-point numbers are needed, one at least")


def positive(name: str, values: Tensor) -> None:
    require_numbers(name, values)
    wrong = values[~(torch.isfinite(values) & (values > 0))]
    if len(wrong):
        raise ValueError(f"{name} must be finite and positive: there is {wrong[0].item()}")


def ranks(dim: int, first: int, last: int) -> list[int]:
    """The first and the last of the ranks 1 .. dim, each once."""
    first = min(first, dim)
    return [*range(1, first + 1), *range(max(first, dim - last) + 1, dim + 1)]


def unit(place: int, dim: int) -> Float[Tensor, " d"]:
    """A unit vector, float64."""
    vector = torch.zeros(dim, dtype=torch.float64)
    vector[place] = 1
    return vector
