"""What can be seen of an input and of its scale: pictures of the input, of the noise and of C's eigenvectors."""

import math

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from rddrs.noise import Diagonal, Isotropic, Scale

LARGEST_PICTURE = 1_024


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
    """The standard deviation of the noise C z in every coordinate."""
    return scale.deviations().cpu().numpy()


def noise_limits(x: Float[Tensor, "*shape"]) -> tuple[float, float]:
    """Where the colours of all noise begin and end, in equal steps of the logarithm: 0.01 to 100 for inputs in [0, 1].

    They follow the power of ten that an input spans, and nothing else, so that pictures of several runs compare.
    """
    low, high = (float(it) for it in x.detach().double().aminmax())
    decade = round(math.log10(max(1.0, high) - min(0.0, low)))
    return 10.0 ** (decade - 2), 10.0 ** (decade + 2)


def covariance_map(scale: Scale) -> tuple[Float[ndarray, "d d"], float] | None:
    """The covariance C C of the noise, and the largest of its absolute values off the diagonal, else of all.

    None beyond d = 1,024, where it is no picture any more, and where every coordinate has noise of its own: the noise
    says it all.
    """
    if scale.dim > LARGEST_PICTURE or isinstance(scale, Isotropic | Diagonal):
        return None
    matrix = scale.matrix.detach().double().cpu().numpy()
    covariance = matrix @ matrix
    off_diagonal = np.abs(covariance - np.diag(np.diag(covariance))).max()
    return covariance, float(off_diagonal or covariance.max())


def principal_axes(scale: Scale, first: int = 0, last: int = 0) -> list[tuple[int, float, Float[ndarray, " d"]]]:
    """The `first` longest and `last` shortest axes of the region: (rank from 1, eigenvalue, unit eigenvector) of C.

    The largest entry of a vector is positive. Empty where C is a multiple of the identity: no axis differs from
    another. An axis that would be counted at both ends is given once.
    """
    axes = [] if isinstance(scale, Isotropic) else scale.axes(first, last)
    root_mean_square = scale.deviations().square().mean().sqrt().item()  # of the eigenvalues, too, which take longer
    if not axes or (axes[0].value if first else scale.norm) <= root_mean_square * (1 + 1e-6):
        return []
    found = []
    for rank, value, axis in axes:
        vector = axis.cpu().numpy()
        found.append((rank, value, vector * np.sign(vector[np.abs(vector).argmax()])))
    return found
