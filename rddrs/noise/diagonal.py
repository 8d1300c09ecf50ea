"""C = diag(theta): a noise level for every coordinate."""

from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from rddrs.noise.scale import Axis, Scale, owned, positive, ranks, unit


class Diagonal(Scale):
    """C = diag(theta)."""

    def __init__(self, theta: Float[Tensor, " d"]) -> None:
        positive("theta", theta)
        if theta.ndim != 1:
            raise ValueError(f"theta has the shape {list(theta.shape)}: a vector is needed: theta.flatten()")
        self._theta = owned(theta)

    @property
    def theta(self) -> Float[Tensor, " d"]:
        """The noise level of every coordinate."""
        return self._theta.clone()

    @property
    def dim(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return len(self._theta)

    @cached_property
    def _ascending(self) -> Float[Tensor, " d"]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self._theta.double().sort().values

    def spread(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return z * self._theta.to(z)

    def perturb(self, x: Float[Tensor, " d"], z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return torch.addcmul(x, z, self._theta.to(z), out=z)

    def whiten(self, delta: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return delta.double() / self._theta.double()

    @property
    def cross_polytope(self) -> float:
        return self.eigenvalues[0].item()

    def deviations(self) -> Float[Tensor, " d"]:
        return self.theta.double()

    def axes(self, first: int, last: int = 0) -> list[Axis]:
        order = self._theta.double().argsort(descending=True).tolist()
        chosen = [(rank, order[rank - 1]) for rank in ranks(self.dim, first, last)]
        return [Axis(rank, self._theta[place].item(), unit(place, self.dim)) for rank, place in chosen]

    @property
    def matrix(self) -> Float[Tensor, "d d"]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._theta.diag()

    def scaled(self, factor: float) -> "Diagonal":
        return Diagonal(factor * self._theta)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "Diagonal":
        moved = self._theta.to(device, dtype or self._theta.dtype)
        return self if moved is self._theta else Diagonal(moved)

    def tensors(self) -> dict[str, Tensor]:
        return {"theta": self.theta}
