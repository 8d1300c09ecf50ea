"""The grid that noise is rounded to, so that a certificate is about the network that runs (METHOD section 11).

In floating point the sum x + C z is rounded, and its last bits tell where x was: a network that reads them can be
given a certificate that is false (Voracek & Hein, ICLR 2023). Let all inputs be multiples of a step h. Then C z / h is
rounded **alone**, to whole numbers W, and the sum of whole numbers x / h + W is exact: the distribution of W is the
same for every x, bit for bit. What is certified is F'(u) = F(h round(u / h)), which is what is evaluated.
"""

import math
from copy import copy

import torch
from jaxtyping import Float
from torch import Tensor

from rddrs.noise.scale import Scale

LONGEST = 9.0
"""No number that torch draws from a standard normal or from [-1, 1] is as large: 53 bits reach 8.6.

An entry of C z, of standard deviation s, is as large as 9 s with a probability below 1e-17, as little as the generator
itself leaves out.
"""


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

    The precision of x holds whole numbers up to M, 2^24 in float32: for the sum to be exact, x and the rounded noise
    may each take M / 2 steps. Where the noise could exceed these, however improbable, it ends there, for every x alike.
    Raises ValueError where the input does not lie on the grid or exceeds them, or where noise would do so with a
    probability that is not negligible.
    """

    def __init__(self, x: Float[Tensor, "*n d"], scale: Scale, step: float) -> None:
        self._whole, self._step = whole(x, step), step
        reach, own = LONGEST * scale.deviations().max().item() / step + 1, self._whole.abs().max().item()
        half = 1 / torch.finfo(x.dtype).eps
        if not max(reach, own) < half:
            raise ValueError(
                f"grid={step:.9g}: noise may reach {reach:.2g} steps and x {own:.2g}, {x.dtype} holds sums of whole "
                f"numbers up to {half:.2g} each: give a larger step, grid=None, or x as float64"
            )
        self._end = half if math.sqrt(scale.dim) * reach >= half else None

    def alone(self) -> "list[Grid]":
        """Of each row its own, where it was made for several inputs."""
        found: list[Grid] = [copy(self) for _ in self._whole]
        for each, row in zip(found, self._whole, strict=True):
            each._whole = row
        return found

    def __call__(self, noise: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """h (x / h + round(noise / h)) for every row."""
        places = noise.mul_(1 / self._step).round_()
        if self._end is not None:
            places.clamp_(-self._end, self._end)
        return places.add_(self._whole).mul_(self._step)
