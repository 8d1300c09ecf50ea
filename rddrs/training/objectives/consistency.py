"""Consistency regularisation: noisy copies shall answer alike (Jeong & Shin, NeurIPS 2020)."""

import torch
from jaxtyping import Float, Int
from pydantic import Field, NonNegativeFloat
from torch import Tensor, nn

from rddrs.training.objectives.base import Noise, Objective, copies


class Consistency(Objective):
    """mean_i CE(F_i, y) + `weight` mean_i KL(F | F_i) + `entropy` H(F), F the mean of the copies' softmax F_i."""

    copies: int = Field(default=2, ge=2)
    weight: NonNegativeFloat = 10.0
    entropy: NonNegativeFloat = 0.5

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
        logs = logits.log_softmax(dim=2)
        mean = logs.exp().mean(dim=0)
        mean_logs = logs.logsumexp(dim=0) - torch.log(torch.tensor(float(self.copies)))
        cross_entropy = nn.functional.nll_loss(logs.flatten(0, 1), labels.repeat(self.copies))
        divergence = (mean * (mean_logs - logs)).sum(dim=2).mean()
        entropy = -(mean * mean_logs).sum(dim=1).mean()
        return cross_entropy + self.weight * divergence + self.entropy * entropy, logits
