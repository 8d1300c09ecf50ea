"""Random rotations of the input space."""

import torch
from jaxtyping import Float
from torch import Tensor

from rddrs.noise import Purpose, Stream


def random_rotation(dim: int, seed: int) -> Float[Tensor, "d d"]:
    """A seeded orthogonal matrix, float32, from the QR decomposition of a Gaussian one."""
    gaussian = torch.randn(dim, dim, generator=Stream(seed, 0, Purpose.ROTATION).generator(), dtype=torch.float64)
    return torch.linalg.qr(gaussian).Q.float()
