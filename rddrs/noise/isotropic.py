"""C = sigma I: the same noise in every direction."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rddrs.noise.scale import Axis, Scale, positive, ranks, unit


@dataclass(frozen=True, eq=False)
class Isotropic(Scale):
    """C = sigma I."""

    sigma: float
    dim: int

    def __post_init__(self) -> None:
        if not isinstance(self.dim, int | np.integer) or self.dim < 1:
            raise ValueError(f"dim={self.dim!r}: the number of an input's entries is needed: x.numel()")
        try:
            object.__setattr__(self, "sigma", float(self.sigma))
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"sigma={self.sigma!r}: a number above 0 is needed") from error
        positive("sigma", torch.tensor(self.sigma, dtype=torch.float64))

    @property
    def _ascending(self) -> Float[Tensor, " d"]:
        return torch.full((self.dim,), self.sigma, dtype=torch.float64)

    @property
    def log_det(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.dim * self.eigenvalues[0].log().item()

    @property
    def geometric_mean(self) -> float:
        return self.sigma

    def spread(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return self.sigma * z

    def perturb(self, x: Float[Tensor, " d"], z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return torch.add(x, z, alpha=self.sigma, out=z)

    def whiten(self, delta: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return delta.double() / self.sigma

    @property
    def cross_polytope(self) -> float:
        return self.eigenvalues[0].item()

    def deviations(self) -> Float[Tensor, " d"]:
        return self._ascending

    def axes(self, first: int, last: int = 0) -> list[Axis]:
        return [Axis(rank, self.sigma, unit(rank - 1, self.dim)) for rank in ranks(self.dim, first, last)]

    @property
    def matrix(self) -> Float[Tensor, "d d"]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.sigma * torch.eye(self.dim, dtype=torch.float64)

    def scaled(self, factor: float) -> "Isotropic":
        return Isotropic(factor * self.sigma, self.dim)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "Isotropic":
        return self if dtype is None else Isotropic(torch.tensor(self.sigma, dtype=dtype).item(), self.dim)

    def tensors(self) -> dict[str, Tensor]:
        return {"sigma": torch.tensor(self.sigma, dtype=torch.float64), "dim": torch.tensor(self.dim)}
