"""What a person fears, as displacements of an input (METHOD section 8)."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rddrs.digests import digest
from rddrs.threats.change import check_range
from rddrs.threats.linear import Added, Pattern
from rddrs.threats.perturbations import PERTURBATIONS, Array, Perturbation

SHARES = (0.05, 0.1)
"""The severities of displacements, in units of the perturbation's limit."""

CLAMPED_SHARES = (0.05, 0.1, 0.15, 0.2)
"""Those of clamped ones, which are not the same near 0 as further out."""

POINTS, NEIGHBOURS = 8, 1 << 9
"""At how many places of a path an input is displaced, and which share of the way to its end a step is."""

ROWS = 64
"""Inputs that are displaced at a time."""

Part = str | Perturbation | Callable[[Array, float], Array] | Tensor | np.ndarray
_NAMED = {each.name: each for each in PERTURBATIONS}


@dataclass(frozen=True)
class Way:
    """A path: one perturbation, or two, the first applied first, and the lower and upper end of each."""

    perturbations: tuple[Perturbation, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def __repr__(self) -> str:
        return f"{'+'.join(it.identity for it in self.perturbations)}: {list(self.low)} to {list(self.high)}"

    def steps(
        self,
        perturbation: Perturbation,
        inputs: Float[Tensor, "m *shape"],
        clamp: tuple[float, float] | None,
        source: torch.Generator,
    ) -> Float[Tensor, "n d"]:
        """How images move for a unit of the severity, each input at so many random places all along the path."""
        axis, rows = self.perturbations.index(perturbation), inputs.double().repeat_interleave(POINTS, dim=0)
        low, high = (torch.tensor(ends, dtype=torch.float64) for ends in (self.low, self.high))
        shares = torch.rand(len(rows), len(low), generator=source, dtype=torch.float64)
        shares[:, axis] = (torch.arange(len(rows)) % POINTS + shares[:, axis]) / POINTS * (1 - 1 / NEIGHBOURS)
        step, ends = (high - low)[axis] / NEIGHBOURS, []
        for further in (0.0, step):
            at, images = low + shares * (high - low), rows
            at[:, axis] += further
            for it, severities in zip(self.perturbations, at.T, strict=True):
                images = it.each(images, severities.to(rows))
            ends.append(images if clamp is None else images.clamp(*clamp))
        return ((ends[1] - ends[0]).flatten(1) / step).to(inputs)


class Threat:
    """Perturbations that a scale is aimed at, and how much each counts beside the volume of the region.

    A part is the name of a perturbation, a `Perturbation`, a function `(x, severity) -> x'` on arrays of the input's
    shape, or a pattern of that shape that is added: a sensor's fixed noise, a watermark. `weights` (each part 1 where
    it is None) and `volume` are brought to the sum 1: an ascent maximises

        log R + volume (1/d) log det C - sum_k weights_k (1/2) log tr(D_k Sigma^-1),

    D_k the second moment of the part's displacements: the logarithm of the severity that C certifies of it, to first
    order. With `clamp`, a range of values, displacements are those of images that are clamped to it, as a camera or a
    file does: that is what is aimed at then. Of a part that is on paths, `along`, they are those of steps at random
    places all along the way: what a path costs (METHOD section 14). `Threat()` is the volume alone. Raises ValueError
    for an unknown name and for weights or a range that is none.
    """

    def __init__(
        self,
        *parts: Part,
        weights: Sequence[float] | None = None,
        volume: float | None = None,
        clamp: tuple[float, float] | None = None,
        along: Sequence[Way] = (),
    ) -> None:
        weights = [1.0] * len(parts) if weights is None else list(weights)
        volume = (0.0 if parts else 1.0) if volume is None else volume
        if len(weights) != len(parts):
            raise ValueError(f"threat: {len(weights)} weights for {len(parts)} perturbations: one each is needed")
        total = sum(weights) + volume
        if not (all(weight >= 0 for weight in [*weights, volume]) and 0 < total < math.inf):
            raise ValueError(f"threat: weights {[*weights, volume]} must be finite, not negative, and not all 0")
        self.perturbations = tuple(_perturbation(part) for part in parts)
        names = [it.name for it in self.perturbations]
        if len({*names}) < len(names):
            raise ValueError(f"threat: {', '.join(names)}: every name once")
        for it in self.perturbations:
            if it != _NAMED.get(it.name, it):
                raise ValueError(f"threat: {it.name} is a perturbation of the project: give yours another name")
        check_range(clamp, None)
        self.weights, self.volume = tuple(weight / total for weight in weights), volume / total
        self.clamp = clamp
        self.along = tuple(way for way in along if {*way.perturbations} & {*self.perturbations})

    def __repr__(self) -> str:
        parts = dict(zip((it.identity for it in self.perturbations), self.weights, strict=True))
        clamp = "" if self.clamp is None or not parts else f", clamp={list(self.clamp)}"
        along = f", along={list(self.along)}" if self.along else ""
        return f"Threat({parts}, volume={self.volume}{clamp}{along})"

    @property
    def reported(self) -> tuple[Perturbation, ...]:
        """The perturbations whose certified severities are told: those of the project and its own."""
        return PERTURBATIONS + tuple(it for it in self.perturbations if it not in PERTURBATIONS)

    def require(self, shape: Sequence[int]) -> None:
        """Raises ValueError where a perturbation is none for inputs of this shape, or changes it or nothing at all.

        And for one of a user's own of which nothing follows (`Perturbation.check`).
        """
        x = torch.rand(tuple(shape), generator=torch.Generator().manual_seed(0))
        for it in self.perturbations:
            it.require(shape)
            try:
                it.check(x)
                moved = next(self.displacements(it, x[None]))
            except ValueError as error:
                raise ValueError(f"threat: {it.name} fails on an input of shape {tuple(shape)}: {error}") from error
            if not (torch.isfinite(moved).all() and moved.any()):
                raise ValueError(f"threat: {it.name} moves an input of shape {tuple(shape)} nowhere, or to NaN")

    def displacements(
        self, perturbation: Perturbation, inputs: Float[Tensor, "m *shape"]
    ) -> Iterator[Float[Tensor, "n d"]]:
        """(T_s(x) - x) / s of every input, at severities of both signs where the perturbation has them.

        Of a perturbation that is on a path, the steps along it.
        """
        if ways := [way for way in self.along if perturbation in way.perturbations]:
            source = torch.Generator().manual_seed(0)
            yield from (
                way.steps(perturbation, part, self.clamp, source) for way in ways for part in inputs.split(ROWS)
            )
            return
        shares, signs = SHARES if self.clamp is None else CLAMPED_SHARES, (1, -1) if perturbation.two_sided else (1,)
        severities = torch.tensor(
            [sign * share * perturbation.limit for share in shares for sign in signs], dtype=torch.float64
        )
        for part in inputs.split(ROWS):
            rows, at = part.double().repeat_interleave(len(severities), dim=0), severities.repeat(len(part))
            moved = perturbation.each(rows, at)
            if self.clamp is not None:
                moved = moved.clamp(*self.clamp)
            yield ((moved - rows).flatten(1) / at[:, None].to(rows)).to(inputs)


VOLUME = Threat()
"""No part: what grows is the volume alone."""


def _perturbation(part: Part) -> Perturbation:
    if isinstance(part, Perturbation):
        return part
    if isinstance(part, str):
        if part not in _NAMED:
            raise ValueError(f"threat: there is no perturbation {part}: {', '.join(_NAMED)} are known")
        return _NAMED[part]
    if isinstance(part, Tensor | np.ndarray):
        pattern = torch.as_tensor(part).double()
        name = f"pattern-{digest('pattern', {'pattern': pattern})[:8]}"
        return Perturbation(name, Added(Pattern(pattern.cpu().numpy())), 10, "share", images=False)
    name = getattr(part, "__name__", "")
    if not name.isidentifier():
        raise ValueError(f"threat: {part} has no name: give a Perturbation, which has one")
    return Perturbation(name, part, 1, images=False, two_sided=False)
