"""The structure and the basis of a scale that is to grow from an isotropic one (METHOD section 7)."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Literal

import numpy as np
import scipy.fft
import torch
from jaxtyping import Float
from torch import Tensor

from rddrs.noise import Full, Kronecker, Scale
from rddrs.threats import VOLUME, Threat

LARGEST_FULL = 1_024
"""Up to this dimension `auto` is a full scale."""

TIE = 1e-6
"""The least weight of the slopes in a learned basis: they decide among directions that no displacement has."""

Structure = Literal["auto", "full", "kronecker"]
Basis = Literal["learned", "dct", "pixel"]


def structured(
    scale: Scale,
    structure: Structure,
    basis: Basis,
    inputs: Float[Tensor, "m *shape"],
    found: Callable[[], Iterable[Float[Tensor, "n d"]]],
    threat: Threat = VOLUME,
) -> Full | Kronecker:
    """An isotropic scale as a full or a Kronecker one; one that is either already stays what it is.

    `auto` is full up to d = 1,024. `found()` gives the slopes, and the threat displaces the `inputs`, that a learned
    basis is made from. Raises ValueError where the scale has another structure than the one that is asked for.
    """
    if isinstance(scale, Full | Kronecker):
        if structure not in ("auto", type(scale).__name__.lower()):
            raise ValueError(f"structure={structure}: the scale to start from is {type(scale).__name__}: use auto")
        return scale
    if structure == "full" or (structure == "auto" and scale.dim <= LARGEST_FULL):
        return Full(scale.matrix.to(inputs))
    shape = inputs.shape[1:]
    values = torch.full(tuple(shape), scale.geometric_mean).to(inputs)
    if basis != "learned":
        factors = [FIXED[basis](size) for size in shape]
    else:
        displaced = [threat.displacements(it, inputs) for it in threat.perturbations]
        weights = [max(threat.volume, TIE), *threat.weights]
        sums = zip(*(moments(rows, shape) for rows in (found(), *displaced)), strict=True)
        factors = [
            torch.linalg.eigh(sum(weight * it for weight, it in zip(weights, axis, strict=True))).eigenvectors
            for axis in sums
        ]
    return Kronecker([factor.to(inputs) for factor in factors], values)


def cosines(size: int) -> Float[Tensor, "n n"]:
    """The orthonormal cosine basis, type II, a column each, float64."""
    return torch.from_numpy(np.asarray(scipy.fft.dct(np.eye(size), norm="ortho", axis=0)).T.copy())


FIXED = {"dct": cosines, "pixel": partial(torch.eye, dtype=torch.float64)}
"""The factors Q_i of the bases that are not learned, float64, by their size."""


def moments(rows: Iterable[Float[Tensor, "n d"]], shape: Sequence[int]) -> list[Tensor]:
    """E[sum over the other axes of g g^T] of each axis, [n, n], of trace 1, float64: a learned basis."""
    found = [torch.zeros(size, size, dtype=torch.float64) for size in shape]
    for part in rows:
        tensor = part.double().cpu().view(-1, *shape)
        for axis, moment in enumerate(found, start=1):
            folded = tensor.movedim(axis, -1).reshape(-1, len(moment))
            moment += folded.mT @ folded
    return [moment / moment.trace() for moment in found]
