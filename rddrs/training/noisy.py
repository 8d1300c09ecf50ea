"""The Lightning module that trains a network under noise."""

import time
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler

from rddrs.data import Inputs
from rddrs.models.weights import named_few
from rddrs.noise import Norm, Purpose, Scale, Stream, family_of
from rddrs.smoothing import Reference
from rddrs.training.augmentation import Augmentation, cropped
from rddrs.training.lightning import lightning
from rddrs.training.objectives import Gaussian, Objective
from rddrs.training.options import TrainingOptions

WORKERS = 2
"""Processes that read and decode the inputs that are not kept in memory."""


class Pairs(Dataset):
    """Batches of inputs and their labels by their rows."""

    def __init__(self, inputs: Inputs, labels: Int[Tensor, " n"]) -> None:
        self.inputs, self.labels = inputs, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: list[int]) -> tuple[Tensor, Tensor]:
        return self.inputs[rows], self.labels[rows]


class NoisyTraining(lightning.LightningModule):
    """Trains a network under the noise of a scale: minimises an `objective`, Cohen's cross-entropy by default.

    Batches, their order, the noise and a network's dropout are keyed by (seed, epoch), counted from `first_epoch`, so
    that training that is resumed after a whole epoch goes on as if it had never stopped. `flip` mirrors half of the
    images, `crop` shifts all of them by up to so many pixels, and an `augmentation` perturbs them at random; the noise
    comes after these. The accuracy under the noise on `validation`, and the seconds of the epoch with its validation,
    are logged after every epoch. Raises ValueError where the objective is not one of noise of that `norm`, and
    FloatingPointError after the epoch that leaves weights that are not finite.
    """

    def __init__(
        self,
        network: nn.Module,
        inputs: Inputs,
        labels: Int[Tensor, " n"],
        scale: Scale,
        validation: Reference,
        options: TrainingOptions | None = None,
        *,
        seed: int = 0,
        first_epoch: int = 0,
        flip: bool = False,
        crop: int = 0,
        norm: Norm = "l2",
        objective: Objective | None = None,
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__()
        self.network, self.scale, self.options = network, scale, options or TrainingOptions()
        self._data, self._flip, self._crop, self._validation = Pairs(inputs, labels), flip, crop, validation
        self._seed, self._first_epoch, self._augmentation = seed, first_epoch, augmentation
        self._family, self._objective = family_of(norm), objective or Gaussian()
        if norm not in self._objective.norms:
            raise ValueError(f"norm={norm}: {self._objective!r} is of {', '.join(self._objective.norms)} alone")

    def _source(self, purpose: Purpose) -> torch.Generator:
        device = self.device if purpose is Purpose.TRAINING else "cpu"
        return Stream(self._seed, self._first_epoch + self.current_epoch, purpose).generator(device)

    def configure_optimizers(self) -> Any:
        weights, rate, schedule = self.network.parameters(), self.options.learning_rate, self.options.schedule
        if self.options.optimizer == "adam":
            optimizer = torch.optim.Adam(weights, lr=rate)
        else:
            optimizer = torch.optim.SGD(weights, lr=rate, momentum=0.9, nesterov=True, weight_decay=5e-4)
        if schedule == "constant":
            return optimizer
        if (steps := int(self.trainer.estimated_stepping_batches)) == 1:  # that of one_cycle would be its end's, near 0
            return optimizer
        if schedule == "linear":
            rates = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)
        elif schedule == "step":
            rates = torch.optim.lr_scheduler.StepLR(optimizer, -(-steps // 3))
        else:
            rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": rates, "interval": "step"}}

    def train_dataloader(self) -> DataLoader:
        order = RandomSampler(self._data, generator=self._source(Purpose.ORDER))
        rows = BatchSampler(order, self.options.batch, drop_last=False)
        return DataLoader(
            self._data, sampler=rows, batch_size=None, num_workers=WORKERS if self._data.inputs.lazy else 0
        )

    def val_dataloader(self) -> DataLoader:
        inputs, labels = (each.split(self.options.batch) for each in (self._validation.inputs, self._validation.labels))
        pairs = zip(inputs, labels, strict=True)
        return DataLoader(list(pairs), batch_size=None)  # pyright: ignore[reportArgumentType]

    def on_train_epoch_start(self) -> None:
        self._noise, self._started = self._source(Purpose.TRAINING), time.perf_counter()
        self._sums = torch.zeros(2, device=self.device)

    def on_train_batch_start(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        if batch_idx == 0:  # not at the start of the epoch: the loader, made before or after that, draws a number
            seed = int(torch.randint(2**62, (), generator=self._source(Purpose.NETWORK)))
            torch.default_generator.manual_seed(seed)
            if self.device.type != "cpu":
                torch.get_device_module(self.device).manual_seed(seed)  # of the current device, which Lightning sets

    def on_train_epoch_end(self) -> None:
        if broken := [name for name, it in self.network.named_parameters() if not it.isfinite().all()]:
            options, epoch = self.options, self.current_epoch + 1
            rounded = ", or set train.precision=float32" if options.precision == "bfloat16" else ""
            raise FloatingPointError(
                f"the training diverged: {named_few(broken)} hold NaN or infinite numbers after epoch {epoch}: "
                f"lower train.learning_rate={options.learning_rate:g}{rounded}"
            )
        loss, accuracy = self._sums / len(self._data)  # Lightning's means take a fifth of a small network's training
        self.log_dict({"loss": loss, "accuracy": accuracy}, prog_bar=True)
        self.log("seconds", time.perf_counter() - self._started)

    def on_validation_epoch_start(self) -> None:
        self._validation_noise = Stream(self._seed, 0, Purpose.VALIDATION).generator(self.device)

    def _drawn(self, count: int, inputs: Tensor, source: torch.Generator) -> Tensor:
        """Noise for `count` copies of every input, [count, n, *shape]."""
        z = self._family.draw(count * len(inputs), inputs[0], source)
        with torch.autocast(self.device.type, enabled=False):
            return self.scale.spread(z).view(count, *inputs.shape)

    def training_step(self, batch: Sequence[Tensor], batch_index: int) -> Tensor:
        inputs, labels = batch
        if self._flip:
            mirrored = torch.rand(len(inputs), generator=self._noise, device=self.device) < 0.5
            inputs = torch.where(mirrored.view(-1, 1, 1, 1), inputs.flip(-1), inputs)
        if self._crop:
            inputs = cropped(inputs, self._crop, self._noise)
        if self._augmentation is not None:
            with torch.autocast(self.device.type, enabled=False):
                inputs = self._augmentation(inputs, self._noise)
        loss, logits = self._objective.loss(
            self.network,
            inputs,
            labels,
            lambda count: self._drawn(count, inputs, self._noise),
            sigma=self.scale.geometric_mean,
            epoch=self._first_epoch + self.current_epoch,
        )
        accuracy = (logits.argmax(dim=2) == labels).float().mean()
        self._sums += len(inputs) * torch.stack([loss.detach(), accuracy])
        return loss

    def validation_step(self, batch: Sequence[Tensor], batch_index: int) -> None:
        inputs, labels = batch
        answers = self.network(inputs + self._drawn(1, inputs, self._validation_noise)[0]).argmax(dim=1)
        accuracy = (answers == labels).float().mean()
        self.log("validation_accuracy", accuracy, prog_bar=True, batch_size=len(labels))
