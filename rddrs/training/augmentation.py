"""Random perturbations of training inputs, so that G_C is right along a path (METHOD section 14)."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rddrs.data import Inputs
from rddrs.noise import Purpose, Stream
from rddrs.threats import Perturbation


class Augmentation:
    """clip(T_t(x)) with uniform t up to the limit of each perturbation, of both signs where it has them, one by one.

    Images are clamped, once, where `clamp` is given. Raises ValueError where a perturbation is none for inputs of the
    shape, or changes them to what is not finite, at its ends.
    """

    def __init__(
        self,
        limits: Mapping[Perturbation, float],
        clamp: tuple[float, float] | None = (0.0, 1.0),
    ) -> None:
        self._limits, self._clamp = dict(limits), clamp

    def __repr__(self) -> str:
        limits = ", ".join(f"{it.identity}: {limit:g}" for it, limit in self._limits.items())
        return f"Augmentation({{{limits}}}, clamp={self._clamp})"

    def require(self, shape: Sequence[int]) -> None:
        """Raises ValueError where a perturbation is none for inputs of this shape, or gives NaN at its ends."""
        x = torch.rand(1, *shape, generator=torch.Generator().manual_seed(0))
        for it, limit in self._limits.items():
            ends = torch.tensor([-limit if it.two_sided else 0.0, limit])
            if not torch.isfinite(it.each(x, ends)).all():
                raise ValueError(f"{it.name} gives NaN or infinite entries at the severity {limit:g}")

    def __call__(self, inputs: Float[Tensor, "n *shape"], source: torch.Generator) -> Float[Tensor, "n *shape"]:
        """The inputs, each at random severities from the source, which is of their device."""
        return self.at(inputs, torch.rand(len(inputs), len(self._limits), generator=source, device=inputs.device))

    def at(self, inputs: Float[Tensor, "n *shape"], shares: Float[Tensor, "n q"]) -> Float[Tensor, "n *shape"]:
        """The inputs at shares in [0, 1] of the range of each perturbation, from its lower end."""
        images = inputs
        for (it, limit), share in zip(self._limits.items(), shares.double().T, strict=True):
            images = it.each(images, limit * (2 * share - 1 if it.two_sided else share))
        return (images if self._clamp is None else images.clamp(*self._clamp)).to(inputs)

    def shares(self, source: torch.Generator) -> Float[Tensor, " q"]:
        """Of one input, the shares that `at` takes."""
        return torch.rand(len(self._limits), generator=source)


class Augmented(Inputs):
    """Inputs of which each is perturbed once, at severities keyed by the seed and its row."""

    def __init__(self, inputs: Inputs, augmentation: Augmentation, seed: int) -> None:
        self._inputs, self._augmentation, self._seed = inputs, augmentation, seed
        self.shape, self.lazy = inputs.shape, inputs.lazy

    def batch(self, rows: Sequence[int]) -> Float[Tensor, "n *shape"]:
        sources = (Stream(self._seed, row, Purpose.AUGMENTATION).generator() for row in rows)
        return self._augmentation.at(self._inputs.batch(rows), torch.stack([*map(self._augmentation.shares, sources)]))

    @property
    def digest(self) -> str:
        return f"{self._inputs.digest} {self._augmentation!r} {self._seed}"


def cropped(images: Float[Tensor, "n c h w"], margin: int, source: torch.Generator) -> Float[Tensor, "n c h w"]:
    """The images with `margin` black pixels around them, each cut out again at a random place (He et al. 2015)."""
    (count, _, *sizes), device = images.shape, images.device
    corners = torch.randint(2 * margin + 1, (2, count, 1), generator=source, device=device)
    rows, columns = (corner + torch.arange(size, device=device) for corner, size in zip(corners, sizes, strict=True))
    each = torch.arange(count, device=device)[:, None, None]
    padded = nn.functional.pad(images, [margin] * 4)
    return padded[each, :, rows[:, :, None], columns[:, None]].movedim(-1, 1)
