"""What can be seen of an input and of its scale: pictures of the input, of the noise and of C's eigenvectors."""

from contextlib import suppress

import numpy as np
import scipy.linalg
from jaxtyping import Float
from numpy import ndarray
from scipy.sparse.linalg import ArpackNoConvergence, eigsh
from torch import Tensor

from rddrs.noise import Isotropic, Scale


def picture(values: Float[ndarray, "*shape"]) -> Float[ndarray, "height width *rgb"] | None:
    """An input, [h, w], [1, h, w] or [3, h, w], as an array that can be drawn; None where it is no image."""
    if values.ndim == 3 and values.shape[0] == 1:
        return values[0]
    if values.ndim == 3 and values.shape[0] == 3:
        return np.moveaxis(values, 0, 2)
    return values if values.ndim == 2 else None


def brightness(x: Float[Tensor, "*shape"]) -> Float[ndarray, "*shape"]:
    """The input mapped to [0, 1]: as it is where it lies there, else stretched."""
    values = x.detach().double().cpu().numpy()
    low, high = min(0.0, values.min()), max(1.0, values.max())
    return (values - low) / (high - low)


def noise_map(scale: Scale) -> Float[ndarray, " d"]:
    """The standard deviation of the noise C z in every coordinate: the norms of the rows of C."""
    if isinstance(scale, Isotropic):
        return np.full(scale.dim, scale.sigma)
    return np.linalg.norm(scale.matrix.detach().double().cpu().numpy(), axis=1)


def covariance_map(scale: Scale) -> tuple[Float[ndarray, "d d"], float]:
    """The covariance C C of the noise, and the largest of its absolute values off the diagonal, else of all."""
    if isinstance(scale, Isotropic):
        return np.diag(noise_map(scale) ** 2), scale.sigma**2
    matrix = scale.matrix.detach().double().cpu().numpy()
    covariance = matrix @ matrix
    off_diagonal = np.abs(covariance - np.diag(np.diag(covariance))).max()
    return covariance, float(off_diagonal or covariance.max())


def principal_axes(scale: Scale, first: int = 0, last: int = 0) -> list[tuple[int, float, Float[ndarray, " d"]]]:
    """The `first` longest and `last` shortest axes of the region: (rank from 1, eigenvalue, unit eigenvector) of C.

    The largest entry of a vector is positive. Empty where C is a multiple of the identity: no axis differs from
    another. An axis that would be counted at both ends is given once.
    """
    if isinstance(scale, Isotropic):
        return []
    matrix = scale.matrix.detach().double().cpu().numpy()
    dim = len(matrix)
    if np.abs(matrix - matrix[0, 0] * np.eye(dim)).max() <= 1e-6 * matrix[0, 0]:
        return []
    first = min(first, dim)
    last = min(last, dim - first)
    values, vectors = _largest(matrix, first) if last == 0 else scipy.linalg.eigh(matrix)
    found = []
    for rank in [*range(1, first + 1), *range(dim - last + 1, dim + 1)]:
        vector = vectors[:, -rank]
        found.append((rank, float(values[-rank]), vector * np.sign(vector[np.abs(vector).argmax()])))
    return found


def _largest(matrix: Float[ndarray, "d d"], count: int) -> tuple[Float[ndarray, " n"], Float[ndarray, "d n"]]:
    """At least the `count` largest eigenvalues, ascending, and their eigenvectors: by Lanczos where it is faster."""
    if len(matrix) > 64:
        start = np.random.default_rng(0).standard_normal(len(matrix))
        with suppress(ArpackNoConvergence):
            return eigsh(matrix, k=count, which="LA", v0=start, tol=1e-6)  # pyright: ignore
    return scipy.linalg.eigh(matrix)
