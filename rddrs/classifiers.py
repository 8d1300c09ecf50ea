"""Networks that return logits, and the Lightning module that trains them under noise."""

import pickle
from pathlib import Path
from typing import Literal

import pytorch_lightning as lightning
import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

from rddrs.scales import Scale
from rddrs.smoothing import Purpose, generator
from rddrs.store import replacing


class LeNet(nn.Module):
    """Two convolutions and a linear layer (conv 5x5 16, pool, conv 5x5 32, pool, linear), as in the RDDRS paper.

    Maps images [n, *shape] to logits [n, classes]. The rectifier follows the pooling, with which it commutes, and the
    weights are laid out channels last: the same function, more than twice as fast on a CPU.
    """

    def __init__(self, shape: tuple[int, ...], classes: int, kernel: int = 5, padding: int = 0) -> None:
        super().__init__()
        features = nn.Sequential(
            nn.Conv2d(shape[0], 16, kernel, padding=padding),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Conv2d(16, 32, kernel, padding=padding),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Flatten(),
        )
        width = features(torch.zeros(1, *shape)).shape[1]
        self.layers = nn.Sequential(features, nn.Linear(width, classes)).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, inputs: Float[Tensor, "n *shape"]) -> Float[Tensor, "n k"]:
        return self.layers(inputs.contiguous(memory_format=torch.channels_last))


class Perceptron(nn.Module):
    """Two hidden layers; maps inputs [n, *shape] to logits [n, classes]."""

    def __init__(self, shape: tuple[int, ...], classes: int, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(torch.Size(shape).numel(), width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, classes),
        )

    def forward(self, inputs: Float[Tensor, "n *shape"]) -> Float[Tensor, "n k"]:
        return self.layers(inputs)


class LogProbabilities(nn.Module):
    """Makes a network that ends in a softmax return logits: softmax(log p) = p."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Float[Tensor, "n *shape"]) -> Float[Tensor, "n k"]:
        probabilities = self.network(inputs)
        return probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log()


Output = Literal["logits", "probabilities"]


def as_logits(network: nn.Module, output: Output) -> nn.Module:
    """The network as one that returns logits; `output` says what it returns itself: it is never guessed."""
    return LogProbabilities(network) if output == "probabilities" else network


class NoisyTraining(lightning.LightningModule):
    """Trains a network under the noise C z (Cohen's augmentation): cross-entropy, Adam.

    Batches, their order and the noise are keyed by (seed, epoch), so that training that is resumed after a whole
    epoch goes on as if it had never stopped.
    """

    def __init__(
        self,
        network: nn.Module,
        inputs: Float[Tensor, "n *shape"],
        labels: Int[Tensor, " n"],
        scale: Scale,
        *,
        learning_rate: float = 1e-3,
        batch: int = 128,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.network, self.scale = network, scale
        self._data = TensorDataset(inputs, labels)
        self._learning_rate, self._batch, self._seed = learning_rate, batch, seed

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.network.parameters(), lr=self._learning_rate)

    def train_dataloader(self) -> DataLoader:
        order = RandomSampler(self._data, generator=generator(self._seed, self.current_epoch, Purpose.REFERENCE))
        return DataLoader(self._data, sampler=BatchSampler(order, self._batch, drop_last=False), batch_size=None)

    def on_train_epoch_start(self) -> None:
        self._noise = generator(self._seed, self.current_epoch, Purpose.TRAINING, device=self.device)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        inputs, labels = batch
        z = torch.randn(inputs.flatten(1).shape, generator=self._noise, device=self.device, dtype=inputs.dtype)
        logits = self.network(inputs + self.scale.noise(z).view_as(inputs))
        loss = nn.functional.cross_entropy(logits, labels)
        accuracy = (logits.argmax(dim=1) == labels).float().mean()
        self.log_dict({"loss": loss, "accuracy": accuracy}, on_epoch=True, on_step=False, prog_bar=True)
        return loss


def save_weights(network: nn.Module, path: Path) -> None:
    """Write the state dict as safetensors, all of it or nothing."""
    with replacing(path) as part:
        save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, part)


def load_weights(network: nn.Module, path: Path) -> None:
    """Load a state dict (`.safetensors`, else a torch file, read with `weights_only=True`) into the network.

    Raises ValueError where the file is missing, damaged, or does not fit the network.
    """
    if not path.is_file():
        raise ValueError(f"classifier.checkpoint={path}: there is no such file")
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise ValueError(f"classifier.checkpoint={path} cannot be read as a state dict: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"classifier.checkpoint={path} is no state dict: it must map parameter names to tensors")
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"classifier.checkpoint={path} does not fit {type(network).__name__}: {error}") from error
