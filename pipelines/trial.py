"""A step of training, tried before any: what fails in it is one error."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pipelines.build import told
from pipelines.errors import SettingsError
from pipelines.prepared import Prepared
from rddrs.models import bare
from rddrs.training.fit import begin, random_numbers_kept


@contextmanager
def as_trained(network: nn.Module, kept_frozen: tuple[str, ...], device: str) -> Iterator[None]:
    """The network as training sees it; afterwards it is as it was, its weights and statistics included."""
    tensors = [*network.parameters(), *network.buffers()]
    before = [tensor.detach().clone() for tensor in tensors]
    thaw(network, kept_frozen)
    try:
        with random_numbers_kept(device):
            begin(network)
            yield
    finally:
        network.eval().requires_grad_(False)
        with torch.no_grad():
            for tensor, value in zip(tensors, before, strict=True):
                tensor.grad = None
                tensor.copy_(value)


def thaw(network: nn.Module, kept_frozen: tuple[str, ...]) -> None:
    """Let every weight be trained but those that the user froze."""
    for name, weight in bare(network).named_parameters():
        weight.requires_grad_(name not in kept_frozen and weight.is_floating_point())


def try_training(prepared: Prepared) -> None:
    """Raise SettingsError where a step of training would fail: on a small batch, and on a last batch of one input."""
    settings, network = prepared.settings, prepared.network
    inputs, labels = prepared.data.trained_on(settings.seed)
    named = f"classifier ({settings.classifier.target}) cannot be trained"
    batch = settings.train.batch
    counts = [min(len(labels), batch, 4), *([1] if len(labels) % batch == 1 else [])]
    for count in counts:
        x, y = inputs[range(count)].to(settings.device), labels[:count].to(settings.device)
        draw = torch.Generator(settings.device).manual_seed(0)

        def noise(copies: int, x: Tensor = x, draw: torch.Generator = draw) -> Tensor:
            return settings.sigma * torch.randn(copies, *x.shape, generator=draw, device=x.device)

        with as_trained(network, prepared.frozen, settings.device):
            try:
                if count > 1 and not isinstance(answers := network(x + noise(1)[0]), Tensor):
                    raise SettingsError(
                        f"{named}: in training it returns {type(answers).__name__} (auxiliary outputs?): a tensor of "
                        "logits is needed there, too"
                    )
                loss, _ = prepared.objective.loss(network, x, y, noise, sigma=settings.sigma, epoch=0)
                if not loss.requires_grad:
                    raise SettingsError(
                        f"{named}: its answers have no gradient: classifier.weights=own certifies it as it is"
                    )
                loss.backward()
            except SettingsError:
                raise
            except Exception as error:
                last = f" (the last of train.batch={batch})" if count == 1 else ""
                raise SettingsError(f"{named} on a batch of {count}{last}: {told(error)}") from error
