"""MACER: the certified radius itself is maximised (Zhai et al., ICLR 2020)."""

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor, nn

from rddrs.training.objectives.base import Noise, Objective, copies


class Macer(Objective):
    """CE(F, y) + `weight` sigma / 2 hinge, over the inputs that are right and not certified to `margin`.

    F is the mean of the copies' softmax; hinge = `margin` - (Phi^-1(p_y) - Phi^-1(p_2)), p of the copies' softmax with
    logits times `sharpness`, p_2 the second largest.
    """

    norms: ClassVar = ("l2",)
    copies: int = Field(default=16, ge=2)
    weight: NonNegativeFloat = 16.0
    margin: PositiveFloat = 8.0
    sharpness: PositiveFloat = 16.0

    def loss(
        self,
        network: nn.Module,
        inputs: Float[Tensor, "n *shape"],
        labels: Int[Tensor, " n"],
        noise: Noise,
        *,
        sigma: float,
        epoch: int,
    ) -> tuple[Float[Tensor, ""], Float[Tensor, "m n k"]]:
        logits = copies(network, inputs, noise(self.copies))
        soft = logits.softmax(dim=2).mean(dim=0)
        cross_entropy = nn.functional.nll_loss(soft.clamp_min(1e-10).log(), labels)
        values, classes = (self.sharpness * logits).softmax(dim=2).mean(dim=0).topk(2, dim=1)
        first, second = values.unbind(dim=1)
        finite = (first < 1) & (second > 0)
        gaps = torch.special.ndtri(first.where(finite, 0.75)) - torch.special.ndtri(second.where(finite, 0.25))
        counted = finite & (classes[:, 0] == labels) & (gaps <= self.margin)
        hinge = ((self.margin - gaps) * counted).sum() / len(labels)
        return cross_entropy + self.weight * sigma / 2 * hinge, logits
