"""Named perturbations T_s of a severity s."""

import hashlib
import math
import pickle
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rddrs.digests import dotted_name, source_digest
from rddrs.threats.blocks import Blocks
from rddrs.threats.change import Change
from rddrs.threats.convolution import Defocus, Gaussian, MotionBlur
from rddrs.threats.interpolation import Rotation, Shift, ShiftDown, Zoom
from rddrs.threats.linear import (
    Added,
    Colour,
    Faded,
    chessboard,
    constant,
    far_from_the_centre,
    left_to_right,
    second_rows,
    top_to_bottom,
    white_noise,
)
from rddrs.threats.monotone import Gamma, Occlusion, SaltAndPepper

Array = np.ndarray
Variation = Callable[[Array, float, float], Array]
"""`bound(x, low, high)`: an array of x's shape that is at least |T_t(x) - T_m(x)|, entry by entry, for every t in
[low, high], m = (low + high) / 2 (METHOD section 13)."""


TRIED, AT_ZERO = 1 / 256, 1e-9
"""The share of the limit at which a user's own is tried, and how far it may be from x at 0, in units of the largest
entry and one."""

ENDS = ("_low", "_high", "_tested")
"""What the columns of an interval's two ends, and of one that is not proven, end in beside the perturbation's name."""


@dataclass(frozen=True)
class Perturbation:
    """A named perturbation, the largest severity that is considered, and the severity's unit.

    `function` is any `(x, severity) -> x'` on a NumPy array of the input's own shape, with T_0(x) = x, that does not
    clamp, or a `Change`. One of `images` needs inputs of the shape [channels, height, width], with that many `channels`
    where they are given; the others take any shape. One that is `two_sided` has negative severities, too. `variation`
    bounds what a function does between severities; a `Change` knows it. Without it severities are tested, and nothing
    is proven between two of them.
    """

    name: str
    function: Change | Callable[[Array, float], Array]
    limit: float
    unit: str = ""
    images: bool = True
    channels: int | None = None
    two_sided: bool = True
    variation: Variation | None = None

    def __post_init__(self) -> None:
        if self.name.endswith(ENDS):
            raise ValueError(f"{self.name}: the name must not end in {', '.join(ENDS)}, which columns of records do")
        if not callable(self.function):
            raise ValueError(f"{self.name}: function={self.function!r} cannot be called with (x, severity)")
        if not (self.variation is None or callable(self.variation)):
            raise ValueError(f"{self.name}: variation={self.variation!r} cannot be called with (x, low, high)")
        if not 0 < self.limit < math.inf:
            raise ValueError(f"{self.name}: limit={self.limit}: the largest severity, above 0, is needed")

    @property
    def identity(self) -> str:
        """The name; of one that is not the project's with a digest of what it does: its code, its limit, its sides."""
        if self in PERTURBATIONS:
            return self.name
        named = [dotted_name(it) for it in (self.function, self.variation)]
        found = hashlib.sha256(f"{self.limit} {self.two_sided} {named} {source_digest(named)}".encode())
        with suppress(TypeError, AttributeError, pickle.PicklingError):  # of a notebook or within a function
            found.update(pickle.dumps((self.function, self.variation), protocol=4))
        return f"{self.name}-{found.hexdigest()[:8]}"

    @property
    def bounded(self) -> bool:
        """Whether the variation over a cell of severities has a bound."""
        return isinstance(self.function, Change) or self.variation is not None

    def points(self, x: Float[Tensor, "*shape"], severities: Float[Tensor, " n"]) -> Float[Tensor, "n *shape"]:
        """T_s(x) for every severity s, not clamped: float64, on the input's device. A function gets copies of x.

        Raises ValueError where the perturbation is none for x or changes its shape.
        """
        return self.each(x[None], severities)

    def each(self, inputs: Float[Tensor, "m *shape"], severities: Float[Tensor, " n"]) -> Float[Tensor, "n *shape"]:
        """T_s of every input, a severity each, or of one input at all severities; as `points`."""
        self.require(inputs.shape[1:])
        inputs = inputs.detach().double()
        if isinstance(self.function, Change):
            return self.function.points(inputs, severities.to(inputs))
        rows = inputs.cpu().expand(len(severities), *inputs.shape[1:]).numpy()
        pairs = zip(rows, severities.tolist(), strict=True)
        return self._kept((self.function(row.copy(), severity) for row, severity in pairs), inputs)

    def variations(
        self, x: Float[Tensor, "*shape"], low: Float[Tensor, " n"], high: Float[Tensor, " n"]
    ) -> Float[Tensor, "n *shape"]:
        """The bound of every cell [low, high]: at least |T_t(x) - T_m(x)| for all t in it; float64, x's device.

        Raises ValueError where there is no bound.
        """
        self.require(x.shape)
        inputs, low, high = x.detach().double()[None], low.to(x.device).double(), high.to(x.device).double()
        if isinstance(self.function, Change):
            return self.function.variations(inputs, low, high)
        if self.variation is None:
            raise ValueError(f"{self.name} has no bound of its variation: Perturbation(..., variation=bound) gives one")
        row, cells = inputs[0].cpu().numpy(), zip(low.tolist(), high.tolist(), strict=True)
        bounds = self._kept((self.variation(row.copy(), *cell) for cell in cells), inputs, "'s variation must keep")
        if not (bounds >= 0).all():
            raise ValueError(f"{self.name}: variation(x, low, high) must give numbers >= 0")
        return bounds

    def boxes(
        self, x: Float[Tensor, "*shape"], low: Float[Tensor, " n"], high: Float[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n *shape"], Float[Tensor, "n *shape"]]:
        """The least and the most of every entry of T_t(x) in every cell, within `variations` of the middle."""
        if isinstance(self.function, Change):
            self.require(x.shape)
            return self.function.boxes(x.detach().double()[None], low.to(x.device).double(), high.to(x.device).double())
        middle, variation = self.points(x, (low + high) / 2), self.variations(x, low, high)
        return middle - variation, middle + variation

    def balls(
        self, x: Float[Tensor, "*shape"], low: Float[Tensor, " n"], high: Float[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n *shape"], Float[Tensor, " n"]]:
        """The centre and the radius of a ball of l2 that holds T_t(x) for all t in each cell."""
        assert isinstance(self.function, Change)
        return self.function.balls(x.detach().double()[None], low.to(x.device).double(), high.to(x.device).double())

    def bends(self, x: Float[Tensor, "*shape"], low: Float[Tensor, " n"], high: Float[Tensor, " n"]) -> Tensor:
        """At least what T_t(x) is away from the chord from T_low(x) to T_high(x) in every cell."""
        assert isinstance(self.function, Change)
        return self.function.bends(x.detach().double()[None], low.to(x.device).double(), high.to(x.device).double())

    def carried(
        self,
        bounds: Float[Tensor, "n *shape"],
        x: Float[Tensor, "*shape"],
        low: Float[Tensor, " n"],
        high: Float[Tensor, " n"],
    ) -> Float[Tensor, "n *shape"]:
        """At least |T_t(x') - T_t(x)| for all t in the cell [low, high] and all x' with |x' - x| <= bounds.

        Entry by entry, float64: what T makes of the variation of its input where it is the outer one of two, T_t o S_s.
        Raises ValueError where it is not known: of blocks, and of a user's function.
        """
        self.require(x.shape)
        if isinstance(self.function, Change):
            with suppress(NotImplementedError):
                return self.function.carried(bounds.double(), x.detach().double()[None], low.double(), high.double())
        raise ValueError(f"{self.name} cannot be the outer one of two perturbations: put it inside")

    def applies(self, shape: tuple[int, ...]) -> bool:
        """Whether the perturbation makes sense for inputs of this shape."""
        return not self.images or (len(shape) == 3 and self.channels in (None, shape[0]))

    def require(self, shape: Sequence[int]) -> None:
        """Raises ValueError where the perturbation is none for inputs of this shape."""
        if not self.applies(tuple(shape)):
            needed = f"[{self.channels or 'channels'}, height, width]"
            raise ValueError(f"{self.name} needs images {needed}, not inputs of shape {tuple(shape)}")

    def check(self, x: Float[Tensor, "*shape"]) -> None:
        """Raises ValueError where the perturbation is none for x, or is one of a user's own of which nothing follows.

        It is tried at 0 and at a small severity: the same image each time, and of a `Change` float64 in memory of its
        own, x at 0 and x left as it is.
        """
        self.require(x.shape)
        if self in (*PERTURBATIONS, SHIFT_DOWN):
            return
        x = x.detach().double().clone()
        given, severity = x.clone(), torch.tensor([self.limit * TRIED], dtype=torch.float64)
        first = self.points(x, severity)
        kept, start = first.clone(), self.points(x, 0 * severity)
        same = partial(torch.allclose, rtol=0, atol=0, equal_nan=True)
        if isinstance(self.function, Change):
            held = first.dtype == torch.float64 and first.shape == given[None].shape
            if not (held and same(first, kept) and same(x, given)):
                needed = f"float64 images {[1, *given.shape]} in memory of their own, and leave x as it is"
                raise ValueError(f"{self.name}: its points must give {needed}")
            if not ((start - given).abs() <= AT_ZERO * (1 + given.abs().max())).all():
                raise ValueError(f"{self.name}: its points must give x at the severity 0")
        if not same(self.points(x, severity), kept):
            told = "another image each time that it is asked (random or remembered numbers)"
            raise ValueError(f"{self.name} gives {told}: the input and the severity must decide it alone")

    def _kept(
        self, found: Iterable[Array], inputs: Float[Tensor, "m *shape"], what: str = " must keep"
    ) -> Float[Tensor, "n *shape"]:
        """What a user's function gives one after the other, each copied at once: all may lie in the same memory."""
        shape, kept = tuple(inputs.shape[1:]), list[Array]()
        for each in map(np.asarray, found):
            if each.shape != shape:
                raise ValueError(f"{self.name}{what} the input's shape {shape}, not make it {each.shape}")
            if np.iscomplexobj(each):
                raise ValueError(f"{self.name} gives complex numbers: real ones are needed")
            kept.append(each.astype(np.float64))
        return torch.from_numpy(np.stack(kept)).to(inputs.device)


PERTURBATIONS = (
    Perturbation("rotation", Rotation(), 45, "degrees"),
    Perturbation("shift", Shift(), 8, "pixels"),
    Perturbation("scale", Zoom(), 1, "relative"),
    Perturbation("brightness", Added(constant), 2, "amplitude", images=False),
    Perturbation("contrast", Faded(), 1, "share", images=False),
    Perturbation("blur", Gaussian(), 5, "pixels", two_sided=False),
    Perturbation("gaussian_noise", Added(white_noise), 5, "standard deviation", images=False),
    Perturbation("salt_and_pepper", SaltAndPepper(), 1, "share", images=False, two_sided=False),
    Perturbation("occlusion", Occlusion(), 1, "share of the side", two_sided=False),
    Perturbation("checkerboard", Added(chessboard), 10, "amplitude"),
    Perturbation("stripes", Added(second_rows), 10, "amplitude"),
    Perturbation("red_cast", Added(Colour((1, 0, 0))), 2, "amplitude", channels=3),
    Perturbation("green_cast", Added(Colour((0, 1, 0))), 2, "amplitude", channels=3),
    Perturbation("blue_cast", Added(Colour((0, 0, 1))), 2, "amplitude", channels=3),
    Perturbation("warmth", Added(Colour((1, 0, -1))), 2, "amplitude", channels=3),
    Perturbation("coldness", Added(Colour((-1, 0, 1))), 2, "amplitude", channels=3),
    Perturbation("horizontal_ramp", Added(left_to_right), 4, "amplitude"),
    Perturbation("vertical_ramp", Added(top_to_bottom), 4, "amplitude"),
    Perturbation("vignetting", Faded(0.0, far_from_the_centre), 2, "share"),
    Perturbation("gamma", Gamma(), 5, "exponent - 1", two_sided=False),
    Perturbation("haze", Faded(1.0), 1, "share"),
    Perturbation("defocus", Defocus(), 5, "pixels", two_sided=False),
    Perturbation("motion_blur", MotionBlur(), 10, "pixels", two_sided=False),
    Perturbation("jpeg_blocks", Blocks(), 5, "amplitude", two_sided=False),
)
"""The perturbations that reports show, with what each does."""

SHIFT_DOWN = Perturbation("shift_down", ShiftDown(), 8, "pixels")
"""The other axis of a shift, for paths in both: no column of reports."""
