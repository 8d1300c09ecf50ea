"""The smoothed classifier as users have it: it predicts, certifies, and lies in one file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from rddrs.certification.certify import Certificate, certify
from rddrs.certification.paths import Feared, PathCertificate, certify_path
from rddrs.models import read_smoothed, write_smoothed
from rddrs.noise import Norm, Scale
from rddrs.smoothing import Classifier, SmoothedClassifier


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

    def certify(
        self, inputs: Float[Tensor, "*shape"] | Sequence[Float[Tensor, "*shape"]], *, index: int = 0, **options: Any
    ) -> Any:
        """The `Certificate` of one input, of its own shape, or the list of those of a batch [n, *shape] or a sequence.

        Of many the first has the `index`, the others those after it. A tensor of as many entries as the scale's
        dimension is one input: a batch of one is a list. Options and errors as of `rddrs.certify`.
        """
        if isinstance(inputs, Tensor) and (inputs.numel() == self.scale.dim or inputs.ndim < 2):
            return self._certificate(inputs, index, options)
        return [self._certificate(x, place, options) for place, x in enumerate(inputs, start=index)]

    def certify_path(
        self,
        x: Float[Tensor, "*shape"],
        perturbation: Feared,
        low: float | Sequence[float],
        high: float | Sequence[float],
        **options: Any,
    ) -> PathCertificate:
        """Every change of one input from `low` to `high`, certified as a whole; options and errors as of
        `rddrs.certify_path`."""
        return certify_path(self, x, perturbation, low, high, **options)

    def _certificate(self, x: Float[Tensor, "*shape"], index: int, options: dict[str, Any]) -> Certificate:
        return certify(self.classifier, x, self.scale, norm=self.norm, grid=self.grid, index=index, **options)

    def save(
        self, path: str | Path, shape: Sequence[int] | None = None, target: Mapping[str, Any] | None = None
    ) -> None:
        """Write the network, C, norm, grid and the card to one file, all of it or nothing; `rddrs.load` reads it.

        `shape` is that of an input; where neither it nor the card says so, it is found by trial. The network is kept as
        a program of torch.export; where it cannot be exported, as its weights and the `target` that makes it, a class
        with its arguments: {"_target_": "package.Class", "width": 64}. Raises ValueError where there is none.
        """
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
