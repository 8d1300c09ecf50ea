"""Shadows of ellipsoids: their projections on a few directions, kept in memory, that separate most pairs cheaply.

Disjoint shadows prove disjoint ellipsoids. A hyperplane w = W a of the directions W is tested with k x k matrices
W^T A^2 W for thousands of ellipsoids at once, while an exact test needs a d x d eigendecomposition a pair.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rddrs.noise import Diagonal, Ellipsoid, Full, Scale
from rddrs.noise.ellipsoids import rounding, size

STEPS = 4


class Rows:
    """Rows of one shape that are appended one by one; the buffer doubles."""

    def __init__(self, *shape: int) -> None:
        self._buffer = torch.empty(16, *shape, dtype=torch.float64)
        self._count = 0

    def append(self, row: Tensor | float) -> None:
        if self._count == len(self._buffer):
            self._buffer = torch.cat([self._buffer, torch.empty_like(self._buffer)])
        self._buffer[self._count] = row
        self._count += 1

    @property
    def values(self) -> Float[Tensor, "m *shape"]:
        return self._buffer[: self._count]


def directions(points: Float[Tensor, "n d"], scales: list[Scale], count: int) -> Float[Tensor, "d k"]:
    """The `count` directions that separate centres like `points` best, for ellipsoids of shapes like `scales`.

    The best hyperplane between two ellipsoids of the shape C has the normal C^-2 delta. With C the mean scale, these
    normals are C^-1 times the principal components of C^-1 points.
    """
    if any(isinstance(scale, Full) for scale in scales):
        mean = Full(torch.stack([scale.matrix.double() for scale in scales]).mean(dim=0))
    else:
        mean = Diagonal(torch.stack([scale.deviations() for scale in scales]).mean(dim=0))
    white = mean.whiten(points - points.mean(dim=0))
    components = torch.linalg.svd(white, full_matrices=False).Vh[:count]
    basis, _ = torch.linalg.qr(mean.whiten(components).mT)
    return basis


class Shadows:
    """The shadows of a growing list of ellipsoids on the columns of `basis`."""

    def __init__(self, basis: Float[Tensor, "d k"]) -> None:
        dim, count = basis.shape
        self.basis = basis
        self._slack = rounding(dim)
        self._centers = Rows(count)
        self._spans = Rows(count, count)
        self._reaches = Rows(count)
        self._errors = Rows(2)

    def append(self, ellipsoid: Ellipsoid) -> None:
        """Adds the shadow of one more ellipsoid."""
        span, frobenius = self._span(ellipsoid.scale)
        center = ellipsoid.center.double()
        self._centers.append(center @ self.basis)
        self._spans.append(ellipsoid.radius**2 * span)
        self._reaches.append(ellipsoid.radius * self._widths(span, frobenius))
        self._errors.append(torch.tensor([ellipsoid.radius * frobenius, center.norm().item()], dtype=torch.float64))

    def distances(self, point: Float[Tensor, " d"]) -> Float[Tensor, " m"]:
        """Lower bounds of the distances of all centres from a point: those of their projections."""
        apart = (self._centers.values - point @ self.basis).norm(dim=1)
        return ((apart - self._rounded(point)) * (1 - self._slack)).clamp_min(0)

    def boxes(self, second: Ellipsoid) -> Float[Tensor, " m"]:
        """Lower bounds of `clearance(first, second)` for all, by each direction alone: of m k numbers, not m k^2."""
        center, widths = second.center.double(), self._widths(*self._span(second.scale))
        gaps = (self._centers.values - center @ self.basis).abs_() - self._reaches.values
        gaps -= self._rounded(center)[:, None]
        return ((gaps / widths).amax(dim=1) * (1 - self._slack)).clamp_min(0)

    def clearances(self, which: Int[Tensor, " m"], second: Ellipsoid, enough: float) -> Float[Tensor, " m"]:
        """Lower bounds of `clearance(first, second)` for the ellipsoids `which`; refined up to `enough`.

        The normals are (S + l T)^-1 delta for the shadows' shapes S and T, first with the mean S, then with its own;
        Newton's method finds the multiplier l of those that are still undecided.
        """
        span, frobenius = self._span(second.scale)
        center = second.center.double()
        delta = self._centers.values[which] - center @ self.basis
        spans, errors = self._spans.values[which], self._errors.values[which]
        factor = self.basis.shape[1] ** 0.5 * self._slack

        def bounds(part: Tensor, normals: Float[Tensor, "p k"], images: Float[Tensor, "p k"]) -> Tensor:
            lengths = normals.norm(dim=1)
            mine, distance = errors[part].unbind(dim=1)
            squares = (normals * images).sum(dim=1).clamp_min(0)
            traces = spans[part].diagonal(dim1=1, dim2=2).sum(dim=1)
            reach = (squares + self._slack * traces * lengths**2).sqrt() + factor * mine * lengths
            widths = torch.einsum("pi,ij,pj->p", normals, span, normals).clamp_min(0)
            width = (widths + self._slack * span.trace() * lengths**2).sqrt() + factor * frobenius * lengths
            gap = (normals * delta[part]).sum(dim=1) - factor * (distance + center.norm()) * lengths - reach
            return (gap / width * (1 - self._slack)).nan_to_num(0, 0, 0).clamp_min(0)

        everything = torch.arange(len(which))
        multiplier = torch.full((len(which),), max(enough, 1e-3) ** 2, dtype=torch.float64)
        normals = torch.linalg.solve(spans.mean(dim=0) + multiplier[0] * span, delta.mT).mT
        best = bounds(everything, normals, torch.einsum("pij,pj->pi", spans, normals))
        for _ in range(STEPS):
            part = torch.nonzero(best < enough).flatten()
            if len(part) == 0:
                break
            lambdas = multiplier[part, None]
            factors, failed = torch.linalg.cholesky_ex(spans[part] + lambdas[:, None] * span)
            part, factors, lambdas = part[failed == 0], factors[failed == 0], lambdas[failed == 0]
            normals = torch.cholesky_solve(delta[part, :, None], factors)[..., 0]
            images = torch.einsum("pij,pj->pi", spans[part], normals)
            best[part] = torch.maximum(best[part], bounds(part, normals, images))
            square = (normals * images).sum(dim=1)
            moved = torch.cholesky_solve((normals @ span)[..., None], factors)[..., 0]
            slope = -2 * (images * moved).sum(dim=1)
            step = lambdas[:, 0] + 2 * square * (1 - square.sqrt()) / slope
            multiplier[part] = torch.where(step > 0, step, lambdas[:, 0] / 10)
        return best

    def _rounded(self, point: Float[Tensor, " d"]) -> Float[Tensor, " m"]:
        """How far the difference of a projected centre from that of a point may be off."""
        return self.basis.shape[1] ** 0.5 * self._slack * (self._errors.values[:, 1] + point.norm())

    def _widths(self, span: Float[Tensor, "k k"], frobenius: float) -> Float[Tensor, " k"]:
        """How far an ellipsoid of radius 1 reaches along each direction, rounded up."""
        squares = span.diagonal().clamp_min(0) + self._slack * span.trace()
        return (squares.sqrt() + self.basis.shape[1] ** 0.5 * self._slack * frobenius) * (1 + self._slack)

    def _span(self, scale: Scale) -> tuple[Float[Tensor, "k k"], float]:
        """W^T C C W and the Frobenius norm of C."""
        rows = scale.extent(self.basis.mT)
        return rows @ rows.mT, size(scale)
