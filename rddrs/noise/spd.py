"""The manifold of symmetric positive definite matrices, in float64: steps, gradients and the eigenvalue floor.

The only importer of geomstats.
"""

from functools import cache
from threading import Lock
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Metric = Literal["affine_invariant", "log_euclidean", "bures_wasserstein"]
METRICS = {
    "affine_invariant": "SPDAffineMetric",
    "log_euclidean": "SPDLogEuclideanMetric",
    "bures_wasserstein": "SPDBuresWassersteinMetric",
}
"""The names of the metrics' classes in geomstats."""


_importing = Lock()


@cache
def geomstats() -> tuple[Any, Any]:
    """The backend of geomstats and its module of SPD matrices, imported where they are needed: that takes a second.

    geomstats 2.8 asks for numpy.trapz, which NumPy 2.4 calls trapezoid alone: it is lent the old name for the import.
    Its import may change torch's default dtype, which is restored.
    """
    with _importing:
        dtype, lent = torch.get_default_dtype(), not hasattr(np, "trapz")
        if lent:
            setattr(np, "trapz", np.trapezoid)  # noqa: B010
        try:
            import geomstats.backend  # pyright: ignore[reportMissingImports]
            import geomstats.geometry.spd_matrices
        finally:
            torch.set_default_dtype(dtype)
            if lent:
                delattr(np, "trapz")
    return geomstats.backend, geomstats.geometry.spd_matrices


def metric_of(name: Metric, dim: int) -> Any:
    """The metric of that name on the SPD matrices [dim, dim]."""
    manifold = geomstats()[1]
    return getattr(manifold, METRICS[name])(manifold.SPDMatrices(dim, equip=False))


def symmetric(matrix: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    """The symmetric part."""
    return (matrix + matrix.mT) / 2


def exp(
    base: Float[Tensor, "d d"], tangent: Float[Tensor, "d d"], metric: Metric = "affine_invariant"
) -> Float[Tensor, "d d"]:
    """Exp_base(tangent) under the metric; float64, symmetric.

    Raises FloatingPointError where the result is not finite and positive definite.
    """
    if len(base) == 1:  # geomstats takes some roots of [1, 1] for numbers
        tangent = torch.block_diag(tangent, tangent.new_zeros(1, 1))
        return exp(torch.block_diag(base, base.new_ones(1, 1)), tangent, metric)[:1, :1]
    gs, step = geomstats()[0], metric_of(metric, len(base))
    point, vector = (gs.array(matrix.double().cpu().numpy()) for matrix in (base, tangent))
    left = f"the {metric} exponential left the manifold"
    try:
        with np.errstate(all="ignore"):  # what is not finite is found below
            end = step.exp(vector, point)
    except np.linalg.LinAlgError as error:
        raise FloatingPointError(f"{left}: {error}") from error
    end = symmetric(torch.as_tensor(end).to(base.device, torch.float64))
    if not torch.isfinite(end).all() or torch.linalg.cholesky_ex(end).info.item():
        raise FloatingPointError(left)
    return end


def riemannian_gradient(
    base: Float[Tensor, "d d"], gradient: Float[Tensor, "d d"], metric: Metric = "affine_invariant"
) -> Float[Tensor, "d d"]:
    """The gradient of a function under the metric, from its Euclidean gradient dH/dC at C = base; float64.

    Affine-invariant: C sym(dH/dC) C. Log-Euclidean: the differential of the matrix exponential at log C, twice.
    Bures-Wasserstein: 2 (C G + G C), with geomstats' normalisation of the metric.
    """
    base, gradient = base.double(), symmetric(gradient.double())
    if metric == "affine_invariant":
        return symmetric(base @ gradient @ base)
    if metric == "bures_wasserstein":
        return 2 * symmetric(base @ gradient + gradient @ base)
    gs, manifold = geomstats()
    point, tangent = gs.array(base.cpu().numpy()), gs.array(gradient.cpu().numpy())
    for _ in range(2):
        tangent = manifold.SymMatrixLog.inverse_tangent(tangent, base_point=point)
    return symmetric(torch.as_tensor(tangent).to(base.device, torch.float64))


def floored_spectrum(matrix: Float[Tensor, "d d"], floor: float) -> tuple[Float[Tensor, " d"], Float[Tensor, "d d"]]:
    """The eigenvalues, ascending and raised to at least `floor`, and the eigenvectors of a matrix; float64."""
    values, vectors = torch.linalg.eigh(matrix.double())
    return values.clamp(min=floor), vectors


def compose(values: Float[Tensor, " d"], vectors: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    """The symmetric matrix of these eigenvalues and orthonormal eigenvectors."""
    return symmetric((vectors * values) @ vectors.mT)


def geometric_mean(first: Float[Tensor, "d d"], second: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    """A # B, the midpoint of the affine-invariant geodesic: the X with X A^-1 X = B; float64.

    Raises FloatingPointError where a matrix is not positive definite.
    """
    if len(first) == 1:
        first, second = (torch.block_diag(it, it.new_ones(1, 1)) for it in (first, second))
        return geometric_mean(first, second)[:1, :1]
    gs, metric = geomstats()[0], metric_of("affine_invariant", len(first))
    start, end = (gs.array(matrix.double().cpu().numpy()) for matrix in (first, second))
    try:
        with np.errstate(all="ignore"):  # what is not finite is found below
            path = metric.geodesic(initial_point=start, end_point=end)
            middle = symmetric(torch.as_tensor(path(0.5)[0]).to(first.device, torch.float64))
    except np.linalg.LinAlgError as error:
        raise FloatingPointError(f"the geometric mean left the manifold: {error}") from error
    if not torch.isfinite(middle).all() or torch.linalg.cholesky_ex(middle).info.item():
        raise FloatingPointError("the geometric mean left the manifold")
    return middle
