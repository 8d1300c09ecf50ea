"""The smoothed classifier as users have it: it predicts, certifies, and lies in one file."""

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from rddrs.certification.certify import certify_together
from rddrs.certification.path_certificate import PathCertificate
from rddrs.certification.paths import Feared, PathTerms, certify_path
from rddrs.certification.terms import Bound, Terms
from rddrs.models import read_smoothed, write_smoothed
from rddrs.noise import Norm, Scale
from rddrs.smoothing import Classifier, SmoothedClassifier
from rddrs.smoothing.smoothed import BATCH


class Smoothed(SmoothedClassifier):
    """G_C, the classifier that is deployed: Smoothed(classifier, scale, norm="l2", grid=None).

    It predicts many inputs at once (`predict`, `frequencies`), certifies them (`certify`, `certify_path`) and is saved
    in one file (`save`, `rddrs.load`). `card` is what is known of it beside: of one that was loaded, all that its file
    states.
    """

    def __init__(
        self,
        classifier: Classifier,
        scale: Scale,
        norm: Norm = "l2",
        grid: float | None = None,
        card: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(classifier, scale, norm, grid)
        self.card: dict[str, Any] = dict(card or {})

    def counts(
        self,
        inputs: Float[Tensor, "n *shape"] | Sequence[Float[Tensor, "*shape"]],
        samples: int = 1000,
        seed: int | None = None,
        *,
        batch: int = BATCH,
    ) -> Int[Tensor, "n k"]:
        """As of `SmoothedClassifier`; inputs far out of the range that the card states are warned of."""
        found = super().counts(inputs, samples, seed, batch=batch)
        self._warn(inputs)
        return found

    def _warn(self, inputs: Tensor | Sequence[Tensor]) -> None:
        """Warn of inputs that are far out of the range that the card states, as pixels up to 255 in the place of 1."""
        parts = [x for x in ([inputs] if isinstance(inputs, Tensor) else inputs) if x.numel()]
        match self.card.get("range"):
            case [int() | float() as low, int() | float() as high] if parts:
                least, most = min(x.min().item() for x in parts), max(x.max().item() for x in parts)
                if least < 2 * low - high or most > 2 * high - low:
                    told = f"inputs from {least:g} to {most:g}, the card has them from {low:g} to {high:g}"
                    warnings.warn(f"{told}: are they in the same units?", stacklevel=3)

    def certify(
        self,
        inputs: Float[Tensor, "*shape"] | Sequence[Float[Tensor, "*shape"]],
        *,
        samples: int = Terms.samples,
        selection_samples: int = Terms.selection_samples,
        alpha: float = Terms.alpha,
        bound: Bound = Terms.bound,
        target_radius: float | None = Terms.target_radius,
        seed: int = Terms.seed,
        index: int = 0,
        batch: int = 256,
        workers: int = 1,
    ) -> Any:
        """The `Certificate` of one input, of its own shape, or the list of those of a batch [n, *shape] or a sequence.

        Of many the first has the `index`, the others those after it. A tensor of as many entries as the scale's
        dimension is one input: a batch of one is a list. Arguments and errors as of `rddrs.certify`.
        """
        terms = Terms(samples, selection_samples, alpha, bound, target_radius, self.norm, self.grid, seed)
        how: dict[str, Any] = {"batch": batch, "workers": workers}
        if isinstance(inputs, Tensor) and (inputs.numel() == self.scale.dim or inputs.ndim < 2):
            (found,) = certify_together(self.classifier, [inputs], [self.scale], terms, [index], **how)
        else:
            places = [index + place for place in range(len(inputs))]
            found = certify_together(self.classifier, [*inputs], [self.scale] * len(inputs), terms, places, **how)
        self._warn(inputs)
        return found

    def certify_path(
        self,
        x: Float[Tensor, "*shape"],
        perturbation: Feared,
        low: float | Sequence[float],
        high: float | Sequence[float],
        *,
        alpha: float = PathTerms.alpha,
        slack: float = PathTerms.slack,
        clamp: tuple[float, float] | None = PathTerms.clamp,
        rounding: float | None = PathTerms.rounding,
        unrounded: bool = PathTerms.unrounded,
        regions: bool = PathTerms.regions,
        samples: int = PathTerms.samples,
        budget: int | None = PathTerms.budget,
        selection_samples: int = PathTerms.selection_samples,
        seed: int = PathTerms.seed,
        index: int = 0,
        batch: int = 256,
        workers: int = 1,
    ) -> PathCertificate:
        """Every change of one input from `low` to `high`, certified as a whole; arguments and errors as of
        `rddrs.certify_path`."""
        found = certify_path(
            self,
            x,
            perturbation,
            low,
            high,
            alpha=alpha,
            slack=slack,
            clamp=clamp,
            rounding=rounding,
            unrounded=unrounded,
            regions=regions,
            samples=samples,
            budget=budget,
            selection_samples=selection_samples,
            seed=seed,
            index=index,
            batch=batch,
            workers=workers,
        )
        self._warn(x)
        return found

    def save(
        self, path: str | Path, shape: Sequence[int] | None = None, target: Mapping[str, Any] | None = None
    ) -> None:
        """Write the network, C, norm, grid and the card to one file, all of it or nothing; `rddrs.load` reads it.

        `shape` is that of an input; where neither it nor the card says so, it is found by trial. The network is kept as
        a program of torch.export; where it cannot be exported, as its weights and the `target` that makes it, a class
        with its arguments: {"_target_": "package.Class", "width": 64}. Such a program takes inputs of float32, or of
        float64 where the network takes no others. Raises ValueError where there is none.
        """
        if shape is not None and math.prod(shape) != self.scale.dim:
            raise ValueError(f"shape={list(shape)} has {math.prod(shape)} entries, the scale {self.scale.dim}")
        card = {**self.card, **({} if shape is None else {"shape": list(shape)}), "norm": self.norm, "grid": self.grid}
        write_smoothed(path, self.classifier, self.scale, card, target)


def load(path: str | Path) -> Smoothed:
    """The smoothed classifier that `Smoothed.save` wrote, on the CPU, in a process that need not know its network.

    No code of the file is run but its network: a program of torch.export is looked through first, ONNX and TorchScript
    are handed to their runtimes, so that such a file should come from people whom you trust. The card is not signed:
    what it says is believed. Raises ValueError where the file is damaged or another kind of file.
    """
    classifier, scale, card = read_smoothed(path)
    return Smoothed(classifier, scale, card["norm"], card["grid"], card)
