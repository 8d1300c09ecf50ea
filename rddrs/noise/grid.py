"""The grid that noise is rounded to, so that a certificate is about the network that runs (METHOD section 11).

In floating point the sum x + C z is rounded, and its last bits tell where x was: a network that reads them can be
given a certificate that is false (Voracek & Hein, ICLR 2023). Let all inputs be multiples of a step h. Then C z / h is
rounded **alone**, to whole numbers W, and the sum of whole numbers x / h + W is exact: the distribution of W is the
same for every x, bit for bit. What is certified is F'(u) = F(h round(u / h)), which is what is evaluated.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from rddrs.noise.scale import Scale

LONGEST = 9.0
"""No number that torch draws from a standard normal or from [-1, 1] is as large: 53 bits reach 8.6."""


def whole(x: Float[Tensor, "*shape"], step: float) -> Float[Tensor, "*shape"]:
    """x / h, whole numbers; raises ValueError where x does not lie on the grid of this step, up to its last bits."""
    if not (math.isfinite(step) and step > 0):
        raise ValueError(f"grid must be finite and positive, not {step}")
    places = (x.double() / step).round()
    away = (x.double() - step * places).abs() > 2 * torch.finfo(x.dtype).eps * x.double().abs()
    if away.any():
        found = x[away][0].item()
        raise ValueError(f"{found:.9g} is no multiple of grid={step:.9g}: give the data's own step, or grid=None")
    return places.to(x.dtype)


class Grid:
    """Brings noise to the grid around one input, or every row of it around an input of its own, in place.

    Raises ValueError where the input does not lie on the grid, or its sum with the noise may not be exact: where, in
    steps of the grid, they may exceed the whole numbers that the precision of x holds, 2^24 of float32.
    """

    def __init__(self, x: Float[Tensor, "*n d"], scale: Scale, step: float) -> None:
        self._whole, self._step = whole(x, step), step
        noise = LONGEST * math.sqrt(scale.dim) * scale.deviations().max().item()
        reach, most = self._whole.abs().max().item() + noise / step + 1, 2 / torch.finfo(x.dtype).eps
        if not reach < most:
            raise ValueError(
                f"grid={step:.9g}: noise may reach {reach:.2g} steps, {x.dtype} holds whole numbers up to {most:.2g}: "
                "give a larger step, or x as float64"
            )

    def __call__(self, noise: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """h (x / h + round(noise / h)) for every row."""
        return noise.mul_(1 / self._step).round_().add_(self._whole).mul_(self._step)
