"""The smoothed classifier as users have it: it predicts and certifies."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from rddrs.certification.certify import Certificate, certify
from rddrs.smoothing import SmoothedClassifier


class Smoothed(SmoothedClassifier):
    """G_C, the classifier that is deployed: Smoothed(classifier, scale, norm="l2", grid=None).

    It predicts many inputs at once (`predict`, `frequencies`) and certifies them (`certify`).
    """

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

    def _certificate(self, x: Float[Tensor, "*shape"], index: int, options: dict[str, Any]) -> Certificate:
        return certify(self.classifier, x, self.scale, norm=self.norm, grid=self.grid, index=index, **options)
