"""The interface of Cohen, Rosenfeld & Kolter's code (`core.py`, 2019): a script runs after one import is changed."""

import os
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from rddrs.certification import ABSTAIN, Smoothed
from rddrs.noise import Isotropic, require_tensor


class Smooth:
    """A classifier smoothed by Gaussian noise of standard deviation `sigma`; its draws are fresh at every call.

    `base_classifier` maps inputs [n, *shape] to logits [n, num_classes]; it is put in evaluation mode, as there.
    """

    ABSTAIN: ClassVar[int] = ABSTAIN

    def __init__(self, base_classifier: Any, num_classes: int, sigma: float) -> None:
        self.base_classifier, self.num_classes, self.sigma = base_classifier, num_classes, sigma

    def certify(self, x: Float[Tensor, "*shape"], n0: int, n: int, alpha: float, batch_size: int) -> tuple[int, float]:
        """The class of the input `x` (no batch axis) and its l2 radius: `ABSTAIN`, 0.0 where nothing is certified.

        `n0` draws choose the class, `n` fresh ones bound its probability at confidence 1 - alpha. Raises ValueError as
        `rddrs.certify`, and where the answers are not of `num_classes`.
        """
        certificate = self._smoothed(x).certify(
            x,
            samples=n,
            selection_samples=n0,
            alpha=alpha,
            batch=batch_size,
            seed=int.from_bytes(os.urandom(8), "little"),
        )
        self._check(len(certificate.counts))
        return certificate.prediction, certificate.ball_radius

    def predict(self, x: Float[Tensor, "*shape"], n: int, alpha: float, batch_size: int) -> int:
        """The class of the input `x` (no batch axis), not the most probable with probability at most alpha; or ABSTAIN.

        Raises ValueError as `rddrs.Smoothed.predict`, and where the answers are not of `num_classes`.
        """
        found = self._smoothed(x).predictions(x[None], n, alpha, batch=batch_size)
        self._check(found.counts.shape[1])
        return int(found.classes[0])

    def _smoothed(self, x: Tensor) -> Smoothed:
        require_tensor("x", x)
        if isinstance(self.base_classifier, torch.nn.Module):
            self.base_classifier.eval()
        return Smoothed(self.base_classifier, Isotropic(float(self.sigma), x.numel()))

    def _check(self, classes: int) -> None:
        if classes != self.num_classes:
            raise ValueError(f"num_classes={self.num_classes}: the base classifier answers {classes} classes")
