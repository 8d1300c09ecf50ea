"""The Lightning module that trains a network under noise. The only importer of Lightning, which takes seconds."""

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as lightning
import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler

from rddrs.data import Inputs
from rddrs.noise import Purpose, Scale, generator


class Pairs(Dataset):
    """Batches of inputs and their labels by their rows."""

    def __init__(self, inputs: Inputs, labels: Int[Tensor, " n"]) -> None:
        self._inputs, self._labels = inputs, labels

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, rows: list[int]) -> tuple[Tensor, Tensor]:
        return self._inputs[rows], self._labels[rows]


class NoisyTraining(lightning.LightningModule):
    """Trains a network under the noise C z (Cohen's augmentation): cross-entropy, Adam.

    Batches, their order and the noise are keyed by (seed, epoch), counted from `first_epoch`, so that training that is
    resumed after a whole epoch goes on as if it had never stopped. `anneal` lets the learning rate fall to 0.
    """

    def __init__(
        self,
        network: nn.Module,
        inputs: Inputs,
        labels: Int[Tensor, " n"],
        scale: Scale,
        *,
        learning_rate: float = 1e-3,
        batch: int = 128,
        seed: int = 0,
        first_epoch: int = 0,
        anneal: bool = False,
    ) -> None:
        super().__init__()
        self.network, self.scale = network, scale
        self._data = Pairs(inputs, labels)
        self._learning_rate, self._batch, self._anneal = learning_rate, batch, anneal
        self._seed, self._first_epoch = seed, first_epoch

    def _source(self, purpose: Purpose) -> torch.Generator:
        device = self.device if purpose is Purpose.TRAINING else "cpu"
        return generator(self._seed, self._first_epoch + self.current_epoch, purpose, device=device)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.network.parameters(), lr=self._learning_rate)
        if not self._anneal:
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def train_dataloader(self) -> DataLoader:
        order = RandomSampler(self._data, generator=self._source(Purpose.ORDER))
        return DataLoader(self._data, sampler=BatchSampler(order, self._batch, drop_last=False), batch_size=None)

    def on_train_epoch_start(self) -> None:
        self._noise = self._source(Purpose.TRAINING)

    def training_step(self, batch: Sequence[Tensor], batch_index: int) -> Tensor:
        inputs, labels = batch
        z = torch.randn(inputs.flatten(1).shape, generator=self._noise, device=self.device, dtype=inputs.dtype)
        logits = self.network(inputs + self.scale.noise(z).view_as(inputs))
        loss = nn.functional.cross_entropy(logits, labels)
        accuracy = (logits.argmax(dim=1) == labels).float().mean()
        self.log_dict({"loss": loss, "accuracy": accuracy}, on_epoch=True, on_step=False, prog_bar=True)
        return loss
