"""Adversarial training of the smoothed classifier (Salman et al., NeurIPS 2019)."""

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from rddrs.training.objectives.attack import evaluating, stepped
from rddrs.training.objectives.base import Noise, Objective, copies


class SmoothAdv(Objective):
    """mean_i CE(F(x + delta + noise_i), y), delta the attack |delta|_2 <= `epsilon` on -log mean_i F_i(y).

    The attack is projected gradient ascent of `steps` steps of length 2 `epsilon` / `steps`, with the same noise as
    the loss, on the network in eval mode. `epsilon` grows linearly over the first `warm_up` epochs.
    """

    norms: ClassVar = ("l2",)
    copies: PositiveInt = 4
    steps: PositiveInt = 10
    epsilon: PositiveFloat = 1.0
    warm_up: NonNegativeInt = Field(default=10)

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
        drawn = noise(self.copies)
        epsilon = self.epsilon * min(1.0, (epoch + 1) / max(self.warm_up, 1))
        with evaluating(network):
            attack = self._attack(network, inputs, labels, drawn, epsilon)
        logits = copies(network, inputs + attack, drawn)
        return nn.functional.cross_entropy(logits.flatten(0, 1), labels.repeat(self.copies)), logits

    def _attack(
        self,
        network: nn.Module,
        inputs: Float[Tensor, "n *shape"],
        labels: Int[Tensor, " n"],
        noise: Float[Tensor, "m n *shape"],
        epsilon: float,
    ) -> Float[Tensor, "n *shape"]:
        delta = torch.zeros_like(inputs)
        for _ in range(self.steps):
            delta.requires_grad_()
            logs = copies(network, inputs + delta, noise).log_softmax(dim=2).logsumexp(dim=0)
            (gradient,) = torch.autograd.grad(nn.functional.nll_loss(logs, labels, reduction="sum"), delta)
            with torch.no_grad():
                delta = stepped(delta, gradient, 2 * epsilon / self.steps, epsilon)
        return delta.detach()
