"""Changes that blur: the mean of the neighbours under weights that spread as the severity grows.

Between the middle and an end of a cell the kernel stays near the segment between the two, on which the image changes by
what it has changed at the end. How far the kernel is from that segment, in l1, times half the range of the values,
bounds the rest.
"""

from abc import abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import conv2d

from rddrs.threats.change import Boxed, Mean

PIECES = 32
"""Parts of a half cell, in each of which the kernel is bounded."""

Kernels = Float[Tensor, "*n rows columns"]


class Blurred(Boxed, Mean):
    """Every value becomes sum_k w_k(s) x_k / sum_k w_k(s) over its neighbours k; edges are repeated.

    w_0 = 1, w_k(0) = 0 for every other k, and no w_k falls as s grows.
    """

    turned: ClassVar[bool] = False
    """Whether the same is done once more with rows and columns exchanged."""

    @abstractmethod
    def reach(self, severity: float) -> int:
        """Neighbours as far away as this may count."""

    @abstractmethod
    def weights(self, severities: Float[Tensor, "*n"], reach: int) -> Kernels:
        """w of the neighbours up to `reach`, k = 0 in the middle."""

    def outside(self, places: Int[Tensor, " n"], length: int) -> Int[Tensor, " n"]:
        """The row or column of the image that stands for one that may lie outside of it."""
        return places.clamp(0, length - 1)

    def points(self, x: Float[Tensor, "m *shape"], severities: Float[Tensor, " n"]) -> Float[Tensor, "n *shape"]:
        return self._mixed(x, _normal(self.weights(severities, self.reach(float(severities.max())))))

    def boxes(
        self, x: Float[Tensor, "m *shape"], low: Float[Tensor, " n"], high: Float[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n *shape"], Float[Tensor, "n *shape"]]:
        reach, middle = self.reach(float(high.max())), (low + high) / 2
        kernel = _normal(self.weights(middle, reach))
        found = self._mixed(x, kernel)
        rows = x.flatten(1)
        half_range = ((rows.amax(dim=1) - rows.amin(dim=1)) / 2).view(-1, 1, 1, 1)
        least = most = found
        for end in (low, high):
            last = _normal(self.weights(end, reach))
            rest = self._rest(kernel, last, middle, end, reach).view(-1, 1, 1, 1) * half_range
            ends = self._mixed(x, last)
            least, most = torch.minimum(least, ends - rest), torch.maximum(most, ends + rest)
            least, most = torch.minimum(least, found - rest), torch.maximum(most, found + rest)
        return least, most

    def _rest(
        self, kernel: Kernels, last: Kernels, middle: Float[Tensor, " n"], end: Float[Tensor, " n"], reach: int
    ) -> Float[Tensor, " n"]:
        """The largest l1 distance of the kernel from the segment `kernel` to `last`, between the middle and the end."""
        shares = torch.linspace(0, 1, PIECES + 1, dtype=middle.dtype, device=middle.device)[:, None]
        weights = self.weights(torch.lerp(middle, end, shares), reach)
        both = torch.stack([weights[:-1], weights[1:]])
        totals = both.sum(dim=(-2, -1), keepdim=True)
        least, most = both.amin(dim=0) / totals.amax(dim=0), both.amax(dim=0) / totals.amin(dim=0)
        way = last - kernel
        length = way.square().sum(dim=(-2, -1), keepdim=True).clamp_min(torch.finfo(way.dtype).tiny)
        along = (((least + most) / 2 - kernel) * way).sum(dim=(-2, -1), keepdim=True) / length
        nearest = kernel + along.clamp(0, 1) * way
        away = torch.maximum(most - nearest, nearest - least).sum(dim=(-2, -1)).amax(dim=0)
        if not self.turned:
            return away
        # Of k x k, k = c + e and c on the segment: e x c, c x e and e x e, and at most |way|^2 / 4 between c x c and
        # the segment of the products.
        return 2 * away + away**2 + way.abs().sum(dim=(-2, -1)) ** 2 / 4

    def _mixed(self, x: Float[Tensor, "m *shape"], kernels: Kernels) -> Float[Tensor, "n *shape"]:
        found = self._once(x, kernels)
        return self._once(found, kernels.mT) if self.turned else found

    def _once(self, x: Float[Tensor, "m *shape"], kernels: Kernels) -> Float[Tensor, "n *shape"]:
        for axis, size in ((-2, kernels.shape[-2]), (-1, kernels.shape[-1])):
            places = torch.arange(-(size // 2), x.shape[axis] + size // 2, device=x.device)
            x = x.index_select(axis, self.outside(places, x.shape[axis]))
        return conv2d(x.movedim(1, 0), kernels[:, None], groups=len(x)).movedim(0, 1)


def _normal(weights: Kernels) -> Kernels:
    return weights / weights.sum(dim=(-2, -1), keepdim=True)


def _offsets(reach: int, like: Tensor) -> Tensor:
    return torch.arange(-reach, reach + 1, dtype=like.dtype, device=like.device)


class Gaussian(Blurred):
    """A Gaussian of standard deviation s at the pixels; beyond its edges the image is mirrored.

    It is cut where the weights are below the last bit of a float64, so that none of them appears from nowhere.
    """

    turned = True

    def reach(self, severity: float) -> int:
        return int(8.6 * severity) + 1

    def weights(self, severities: Float[Tensor, "*n"], reach: int) -> Kernels:
        # At 0 the exponent is 0 / 0: of the smallest number it is 0 in the middle, and -inf elsewhere.
        spread = severities[..., None, None].clamp_min(1e-150)
        return (-((_offsets(reach, severities) / spread) ** 2) / 2).exp()

    def outside(self, places: Int[Tensor, " n"], length: int) -> Int[Tensor, " n"]:
        places = places % (2 * length)
        return torch.minimum(places, 2 * length - 1 - places)


class Defocus(Blurred):
    """The mean over a disc: full up to s pixels from the centre, falling to 0 within one pixel more."""

    def reach(self, severity: float) -> int:
        return int(severity) + 1

    def weights(self, severities: Float[Tensor, "*n"], reach: int) -> Kernels:
        offsets = _offsets(reach, severities)
        return (severities[..., None, None] + 1 - torch.hypot(offsets[:, None], offsets)).clamp(0, 1)


class MotionBlur(Blurred):
    """The mean of the image on a horizontal path of s pixels, linear interpolation."""

    def reach(self, severity: float) -> int:
        return int(severity / 2) + 1

    def weights(self, severities: Float[Tensor, "*n"], reach: int) -> Kernels:
        # A pixel's weight is the integral of its hat, 1 - |u - k|, over the path; divided by that of the middle, which
        # it is here, it never falls. At s = 0 both are 0: a short path stands for it.
        half = severities[..., None, None].clamp_min(1e-150) / 2
        covered = (half + 1 - _offsets(reach, severities).abs()).clamp(0, 2)
        weights = torch.where(covered < 1, covered**2 / 2, 1 - (2 - covered) ** 2 / 2)
        inner = half.clamp_max(1)
        weights = weights / (inner * (2 - inner))
        weights[..., reach] = 1
        return weights
