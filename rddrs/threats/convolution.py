"""Changes that blur: the mean of the neighbours under weights that spread as the severity grows.

Between two severities the kernel stays near the segment from the one's to the other's, on which the image goes straight
from the one to the other. How far the kernel is from that segment, in l1, times half the range of the values,
bounds the rest.
"""

from abc import abstractmethod
from itertools import product
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import conv2d

from rddrs.threats.change import Boxed, Mean

PIECES = 32
"""Parts of what is between two severities, in each of which the kernel is bounded."""

Kernels = Float[Tensor, "*n rows columns"]
Between = Float[Tensor, "pieces *n rows columns"]

LARGE = 1 << 16
"""Images of so many numbers are mixed neighbour by neighbour: conv2d copies all neighbours of every number first."""


class Blurred(Boxed, Mean):
    """Every value becomes sum_k w_k(s) x_k / sum_k w_k(s) over its neighbours k; edges are repeated.

    w_0 = 1, w_k(0) = 0 for every other k, and no w_k falls as s grows.
    """

    turned: ClassVar[bool] = False
    """Whether the same is done once more with rows and columns exchanged."""

    straight = True

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
        middle = (low + high) / 2
        kernels = self._kernels(low, middle, high)
        first, centre, last = (self._mixed(x, it) for it in kernels)
        reach = kernels[0].shape[-1] // 2
        before = self._away(x, kernels[0], kernels[1], self._between(low, middle, reach))
        after = self._away(x, kernels[1], kernels[2], self._between(middle, high, reach))
        rest = torch.maximum(before, after)
        return (
            torch.minimum(torch.minimum(first - before, last - after), centre - rest),
            torch.maximum(torch.maximum(first + before, last + after), centre + rest),
        )

    def bends(self, x: Float[Tensor, "m *shape"], low: Float[Tensor, " n"], high: Float[Tensor, " n"]) -> Tensor:
        weights = self._between(low, high, self.reach(float(high.max())))
        kernel, last = _normal(weights[[0, -1]])
        return self._away(x, kernel, last, weights).expand(-1, *x.shape[1:])

    def _kernels(self, *severities: Float[Tensor, " n"]) -> list[Kernels]:
        reach = self.reach(max(float(it.max()) for it in severities))
        return [_normal(self.weights(it, reach)) for it in severities]

    def _between(self, low: Float[Tensor, " n"], high: Float[Tensor, " n"], reach: int) -> Between:
        """The weights at both severities and at as many between them as part the cell in PIECES."""
        shares = torch.linspace(0, 1, PIECES + 1, dtype=low.dtype, device=low.device)[:, None]
        return self.weights(torch.lerp(low, high, shares), reach)

    def _away(
        self, x: Float[Tensor, "m *shape"], kernel: Kernels, last: Kernels, weights: Between
    ) -> Float[Tensor, "n 1 1 1"]:
        """How far entries come at most from the chord between the images of two kernels."""
        least, most = x.flatten(1).aminmax(dim=1)
        return (self._rest(kernel, last, weights) * ((most - least) / 2)).view(-1, 1, 1, 1)

    def _rest(self, kernel: Kernels, last: Kernels, weights: Between) -> Float[Tensor, " n"]:
        """The largest l1 distance of the kernel from the segment `kernel` to `last`: of w between those of the pieces.

        No w falls as s grows, nor does their sum.
        """
        totals = weights.sum(dim=(-2, -1), keepdim=True)
        least, most = weights[:-1] / totals[1:], weights[1:] / totals[:-1]
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
            x = x.index_select(axis, self.outside(places, x.shape[axis])) if size > 1 else x
        if x[0].numel() >= LARGE:
            return _summed(x, kernels)
        return conv2d(x.movedim(1, 0), kernels[:, None], groups=len(x)).movedim(0, 1)


def _summed(x: Float[Tensor, "m c h w"], kernels: Kernels) -> Float[Tensor, "n *shape"]:
    """What conv2d makes of every channel."""
    (rows, columns), (height, width) = kernels.shape[-2:], x.shape[-2:]
    found = None
    for row, column in product(range(rows), range(columns)):
        part = x[..., row : row + height - rows + 1, column : column + width - columns + 1]
        weight = kernels[:, row, column].view(-1, 1, 1, 1)
        found = part * weight if found is None else found.addcmul_(part, weight)
    assert found is not None
    return found


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
