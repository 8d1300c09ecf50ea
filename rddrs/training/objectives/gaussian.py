"""Cohen's augmentation: cross-entropy at one noisy copy (Cohen, Rosenfeld & Kolter, ICML 2019)."""

from jaxtyping import Float, Int
from torch import Tensor, nn

from rddrs.training.objectives.base import Noise, Objective, copies


class Gaussian(Objective):
    """CE(F(x + noise), y)."""

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
        logits = copies(network, inputs, noise(1))
        return nn.functional.cross_entropy(logits[0], labels), logits
