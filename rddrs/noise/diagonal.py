"""C = diag(theta): a noise level for every coordinate."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from rddrs.noise.scale import Axis, Scale, positive, ranks, unit


@dataclass(frozen=True, eq=False)
class Diagonal(Scale):
    """C = diag(theta)."""

    theta: Float[Tensor, " d"]

    def __post_init__(self) -> None:
        positive("theta", self.theta)

    @property
    def dim(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return len(self.theta)

    @cached_property
    def eigenvalues(self) -> Float[Tensor, " d"]:
        return self.theta.double().sort().values

    def noise(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return z * self.theta.to(z)

    def perturb(self, x: Float[Tensor, " d"], z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return torch.addcmul(x, z, self.theta.to(z), out=z)

    def whiten(self, delta: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return delta.double() / self.theta.double()

    def deviations(self) -> Float[Tensor, " d"]:
        return self.theta.double()

    def axes(self, first: int, last: int = 0) -> list[Axis]:
        order = self.theta.double().argsort(descending=True).tolist()
        chosen = [(rank, order[rank - 1]) for rank in ranks(self.dim, first, last)]
        return [Axis(rank, self.theta[place].item(), unit(place, self.dim)) for rank, place in chosen]

    @property
    def matrix(self) -> Float[Tensor, "d d"]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.theta.diag()

    def scaled(self, factor: float) -> "Diagonal":
        return Diagonal(factor * self.theta)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "Diagonal":
        moved = self.theta.to(device, dtype or self.theta.dtype)
        return self if moved is self.theta else Diagonal(moved)

    def tensors(self) -> dict[str, Tensor]:
        return {"theta": self.theta}
