"""What an objective is: a loss of noisy copies of labelled inputs."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rddrs.noise import FAMILIES, Norm
from rddrs.options import Options

Noise = Callable[[int], Tensor]
"""`noise(m)` draws noise for m copies of every input, [m, n, *shape]."""


class Objective(Options, ABC):
    """The hyper-parameters of a loss, checked when it is made; `norms` are those that it makes sense in."""

    norms: ClassVar[Collection[Norm]] = FAMILIES

    def __repr_name__(self) -> str:
        """A user's own objective has its module before its name: another of that name is another."""
        kind = type(self)
        return kind.__name__ if kind.__module__.startswith("rddrs.") else f"{kind.__module__}.{kind.__qualname__}"

    @abstractmethod
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
        """The loss of a batch and the logits of its noisy copies; `sigma` is the noise level, `epoch` counts from 0."""


def copies(
    network: nn.Module, inputs: Float[Tensor, "n *shape"], noise: Float[Tensor, "m n *shape"]
) -> Float[Tensor, "m n k"]:
    """The logits of every noisy copy of every input, in one pass; at least in float32, whatever the network's."""
    logits = network((inputs + noise).flatten(0, 1)).unflatten(0, noise.shape[:2])
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
