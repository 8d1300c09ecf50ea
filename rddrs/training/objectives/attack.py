"""A step of projected gradient ascent in an l2 ball, and the network that is attacked: what such objectives share."""

from collections.abc import Iterator
from contextlib import contextmanager

from jaxtyping import Float
from torch import Tensor, nn


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """The network in eval mode; afterwards every layer is in its own: frozen ones stay in eval mode in training."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def stepped(
    delta: Float[Tensor, "n *shape"], gradient: Float[Tensor, "n *shape"], length: float, epsilon: float
) -> Float[Tensor, "n *shape"]:
    """`delta` moved by `length` along the gradient, row by row, and brought back to |delta|_2 <= `epsilon`."""
    lengths = (-1, *(1 for _ in delta.shape[1:]))

    def norms(rows: Tensor) -> Tensor:
        return rows.flatten(1).norm(dim=1).clamp_min(1e-12).view(lengths)

    delta = delta + length * gradient / norms(gradient)
    return delta * (epsilon / norms(delta)).clamp_max(1.0)
