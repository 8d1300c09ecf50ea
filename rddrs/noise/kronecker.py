"""C = Q diag(lambda) Q^T with a Kronecker product Q of small orthogonal matrices: a scale for inputs of any size.

The eigenbasis of EK-FAC (George et al., NeurIPS 2018), used for noise (METHOD section 7). For an input of the shape
(n_1, ..., n_k) it has d + sum n_i^2 numbers, and no d x d matrix is formed but by `matrix`.

Factors of finite precision are orthogonal up to rounding only. The noise is B z = Q (lambda * z) with the factors Q as
they are; what is certified is the region of just this noise, with Q^-1 computed, not assumed. C is B U^T, with U the
orthogonal matrix nearest to Q; its eigenvalues are bounded from below, so that no radius is too large.
"""

import math
import operator
from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from rddrs.noise.precision import together
from rddrs.noise.product import Product, multiply
from rddrs.noise.scale import Axis, Scale, owned, positive, ranks, require_numbers

LARGEST_GROUP = 128
"""Factors of neighbouring axes are multiplied together up to this size: fewer and larger products."""


TOGETHER = 1 << 18
"""Noise is rotated for as many draws together as make so many numbers, or for one: a CPU's cache holds them."""


class Kronecker(Scale):
    """C = Q diag(lambda) Q^T, Q = Q_1 x ... x Q_k; a single factor is any orthogonal eigenbasis.

    `factors` are the orthogonal Q_i, [n_i, n_i], `values` are lambda, of the input's shape (n_1, ..., n_k). Raises
    ValueError where shapes do not fit, a factor is not orthogonal or a value is not positive.
    """

    def __init__(self, factors: Sequence[Tensor], values: Float[Tensor, "*shape"]) -> None:
        positive("values", values)
        for place, factor in enumerate(factors):
            require_numbers(f"factor {place}", factor)
        shapes = [tuple(factor.shape) for factor in factors]
        if shapes != [(size, size) for size in values.shape]:
            raise ValueError(f"factors of shapes {shapes} do not fit values of shape {tuple(values.shape)}")
        for place, factor in enumerate(factors):
            gram = factor.double().mT @ factor.double()
            if not (gram - torch.eye(len(gram), dtype=gram.dtype, device=gram.device)).abs().max() < 1e-4:
                raise ValueError(f"factor {place} is not orthogonal: Q^T Q differs from the identity")
        self._factors = tuple(owned(factor) for factor in factors)
        self._values = owned(values)

    @property
    def factors(self) -> tuple[Float[Tensor, "n n"], ...]:
        """The factors Q_i."""
        return tuple(factor.clone() for factor in self._factors)

    @property
    def values(self) -> Float[Tensor, "*shape"]:
        """The noise levels lambda along the columns of Q, of the input's shape."""
        return self._values.clone()

    @property
    def dim(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._values.numel()

    @cached_property
    def _ascending(self) -> Float[Tensor, " d"]:  # pyright: ignore[reportIncompatibleMethodOverride]
        least = math.prod(torch.linalg.matrix_norm(factor.double(), -2).item() for factor in self._factors)
        return self._values.double().flatten().sort().values * min(1.0, least)

    @cached_property
    def norm(self) -> float:  # pyright: ignore[reportIncompatibleMethodOverride]
        most = math.prod(torch.linalg.matrix_norm(factor.double(), 2).item() for factor in self._factors)
        return self._values.max().item() * max(1.0, most)

    @cached_property
    def rounding(self) -> float:  # pyright: ignore[reportIncompatibleMethodOverride]
        # A turn leaves an error along every axis, which the smallest lambda then enlarges.
        error = 16 * sum(self._values.shape) * torch.finfo(torch.float64).eps * self.norm / self.eigenvalues[0].item()
        return error / (1 - error) if error < 1 else math.inf

    @cached_property
    def _nearest(self) -> list[Float[Tensor, "n n"]]:
        """The orthogonal matrices nearest to the factors, float64."""
        pairs = (torch.linalg.svd(factor.double()) for factor in self._factors)
        return [left @ right for left, _, right in pairs]

    @cached_property
    def _inverses(self) -> list[Float[Tensor, "n n"]]:
        return [torch.linalg.inv(factor.double()) for factor in self._factors]

    def spread(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return rotate(z * self._values.flatten().to(z), [factor.to(z) for factor in self._factors], self._values.shape)

    def whiten(self, delta: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return rotate(delta.double(), self._inverses, self._values.shape) / self._values.double().flatten()

    def slopes(self, w: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return rotate(
            w.double() / self._values.double().flatten(), [it.mT for it in self._inverses], self._values.shape
        )

    def extent(self, w: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        turned = rotate(w, [factor.mT.to(w) for factor in self._factors], self._values.shape)
        return turned * self._values.flatten().to(w)

    def turned(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return rotate(z, [matrix.mT.to(z) for matrix in self._nearest], self._values.shape)

    @cached_property
    def cross_polytope(self) -> float:  # pyright: ignore[reportIncompatibleMethodOverride]
        lengths = rotate(
            1 / self._values.double().flatten()[None],
            [inverse.abs().mT for inverse in self._inverses],
            self._values.shape,
        )
        return (1 - 1e-12 * self.dim) / lengths.max().item()

    @cached_property
    def _rotation(self) -> "Rotation":
        return Rotation(self._factors)

    @cached_property
    def _levels(self) -> Float[Tensor, " d"]:
        return self._rotation.laid_out(self._values)

    def perturb(self, x: Float[Tensor, " d"], z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        # z is isotropic: it may stand for Q^T z, and its entries for those of any order.
        levels = self._levels.to(z)
        for part in z.split(max(1, together(z.device, TOGETHER) // self.dim)):
            torch.add(x, self._rotation(part.mul_(levels)), out=part)
        return z

    def deviations(self) -> Float[Tensor, " d"]:
        squares = rotate(
            self._values.double().flatten()[None] ** 2,
            [factor.double() ** 2 for factor in self._factors],
            self._values.shape,
        )
        return squares[0].sqrt()

    def axes(self, first: int, last: int = 0) -> list[Axis]:
        levels = self._values.double().flatten()
        order, found = levels.argsort(descending=True), []
        for rank in ranks(self.dim, first, last):
            place = torch.unravel_index(order[rank - 1], self._values.shape)
            vector = torch.ones(1, dtype=torch.float64, device=self._values.device)
            for factor, column in zip(self._factors, place, strict=True):
                vector = torch.outer(vector, factor[:, column].double()).flatten()
            found.append(Axis(rank, levels[order[rank - 1]].item(), vector / vector.norm()))
        return found

    @property
    def matrix(self) -> Float[Tensor, "d d"]:  # pyright: ignore[reportIncompatibleVariableOverride]
        identity = torch.eye(self.dim, dtype=torch.float64, device=self._values.device)
        return self.spread(self.turned(identity)).mT.to(self._values.dtype)

    def scaled(self, factor: float) -> "Kronecker":
        return Kronecker(self._factors, factor * self._values)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "Kronecker":
        before = (*self._factors, self._values)
        *factors, values = after = [it.to(device, dtype or it.dtype) for it in before]
        return self if all(map(operator.is_, before, after)) else Kronecker(factors, values)

    def tensors(self) -> dict[str, Tensor]:
        return {"values": self.values, **{f"factor{place}": factor for place, factor in enumerate(self.factors)}}


def rotate(rows: Float[Tensor, "n d"], matrices: Sequence[Tensor], shape: Sequence[int]) -> Float[Tensor, "n d"]:
    """(A_1 x ... x A_k) v for every row v, with a gradient; d sum n_i multiplications a row."""
    tensor = rows.reshape(-1, *shape)
    for matrix in matrices:
        tensor = multiply(tensor.movedim(1, -1), matrix.mT)  # after k turns the axes are in their order again
    return tensor.reshape(rows.shape)


class Rotation:
    """Rows v, their entries in the order of `laid_out`, to Q v, as fast as can be, without a gradient.

    A product with the last axis is one large product of matrices; the axes then move on by one. To spare the last of
    these moves the first axes are where it would have brought them from the start.
    """

    def __init__(self, factors: Sequence[Tensor]) -> None:
        groups: list[Tensor] = []
        for factor in factors:
            if groups and len(groups[-1]) * len(factor) <= LARGEST_GROUP:
                groups[-1] = torch.kron(groups[-1], factor)
            else:
                groups.append(factor)
        self._sizes = [len(group) for group in groups]
        self._products: list[Callable[..., Tensor] | None] = [
            None if torch.equal(group, torch.eye(len(group)).to(group)) else Product(group.mT) for group in groups
        ]

    def laid_out(self, values: Float[Tensor, "*shape"]) -> Float[Tensor, " d"]:
        """The entries in the order in which rows are taken."""
        if not any(self._products):
            return values.flatten()
        return values.reshape(self._sizes).movedim(-1, 0).flatten()

    def __call__(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        if not any(self._products):
            return rows
        last = len(self._sizes) - 1
        tensor = rows.reshape(-1, self._sizes[-1], *self._sizes[:-1])
        for turn, place in enumerate([*reversed(range(last)), last]):
            if turn:
                tensor = tensor.movedim(-1, 1)
            if (product := self._products[place]) is not None:
                tensor = product(tensor.reshape(-1, self._sizes[place])).view(tensor.shape)
        return tensor.reshape(rows.shape)
