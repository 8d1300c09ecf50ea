"""Confidence-aware training: fits the copies that can be right, attacks where all are (Jeong et al., AAAI 2023)."""

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from rddrs.training.objectives.attack import evaluating, stepped
from rddrs.training.objectives.base import Noise, Objective, copies


class CatRS(Objective):
    """The mean over inputs of L + `weight` [K = m] H, m = `copies`.

    L = 1/m sum of the max(K, 1) smallest CE(F_i, y), K ~ Bin(m, p), p the share of the copies that are answered
    rightly: what noise makes ambiguous is not fitted. H = max_i KL(F | F(x + noise_i*)), F the mean of the copies'
    softmax F_i, a constant, and noise_i* what an attack of `steps` steps of length 2 `epsilon` / `steps` finds within
    `epsilon` (l2) of noise_i, on the network in eval mode. K is drawn from torch's own source of random numbers.
    """

    norms: ClassVar = ("l2",)
    copies: int = Field(default=4, ge=2)
    weight: NonNegativeFloat = 1.0
    steps: PositiveInt = 4
    epsilon: PositiveFloat = 1.0

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
        logits = copies(network, inputs, drawn)
        right = logits.argmax(dim=2) == labels
        fitted = (torch.rand(right.shape, device=right.device) < right.double().mean(dim=0)).sum(dim=0)
        each = nn.functional.cross_entropy(logits.flatten(0, 1), labels.repeat(self.copies), reduction="none")
        smallest = each.view(right.shape).sort(dim=0).values.cumsum(dim=0)
        low = smallest.gather(0, (fitted.clamp_min(1) - 1)[None])[0] / self.copies
        sure = fitted == self.copies
        if self.weight == 0 or not sure.any():
            return low.mean(), logits
        target = logits[:, sure].detach().softmax(dim=2).mean(dim=0)
        with evaluating(network):
            worst = self._attack(network, inputs[sure], drawn[:, sure], target)
        high = _divergences(network, inputs[sure], worst, target).amax(dim=0)
        return low.mean() + self.weight * high.sum() / len(labels), logits

    def _attack(
        self,
        network: nn.Module,
        inputs: Float[Tensor, "n *shape"],
        noise: Float[Tensor, "m n *shape"],
        target: Float[Tensor, "n k"],
    ) -> Float[Tensor, "m n *shape"]:
        """The noise that is worst for every copy, within epsilon of it."""
        delta = torch.zeros_like(noise)
        for _ in range(self.steps):
            delta.requires_grad_()
            (gradient,) = torch.autograd.grad(_divergences(network, inputs, noise + delta, target).sum(), delta)
            with torch.no_grad():
                rows = (delta.flatten(0, 1), gradient.flatten(0, 1))
                delta = stepped(*rows, 2 * self.epsilon / self.steps, self.epsilon).view_as(noise)
        return noise + delta.detach()


def _divergences(
    network: nn.Module, inputs: Tensor, noise: Float[Tensor, "m n *shape"], target: Float[Tensor, "n k"]
) -> Float[Tensor, "m n"]:
    """KL(target | F_i) of every copy of every input."""
    logs = copies(network, inputs, noise).log_softmax(dim=2)
    return (torch.special.xlogy(target, target) - target * logs).sum(dim=2)
