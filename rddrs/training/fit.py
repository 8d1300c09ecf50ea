"""A fit under noise with Lightning, which goes on from the last whole epoch wherever it was stopped."""

import io
import logging
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rddrs.data import BrokenInput
from rddrs.files import Unreadable, replacing
from rddrs.training.lightning import (
    Callback,
    LightningEnvironment,
    Logger,
    ModelCheckpoint,
    TorchCheckpointIO,
    lightning,
)
from rddrs.training.noisy import NoisyTraining


def fit(
    module: NoisyTraining,
    *,
    epochs: int,
    folder: Path,
    device: str = "cpu",
    logger: Logger | None = None,
    done: Callable[[float], None] | None = None,
) -> None:
    """Train the module's network for so many epochs, then freeze it; `folder` keeps a checkpoint of every epoch.

    Weights that require no gradient stay as they are, and so do the statistics of layers that have no others; where
    that is all of them, a warning says that nothing is trained. Raises KeyboardInterrupt where Ctrl-C ended it (the
    same call goes on), BrokenInput, and Unreadable for a checkpoint that is damaged.
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    if not any(weight.requires_grad for weight in module.network.parameters()):
        warnings.warn("no weight of the network requires a gradient: nothing is trained", stacklevel=2)
        module.network.eval().to(device)
        return
    begin(module.network)
    trainer = lightning.Trainer(
        **placed(device),
        precision="bf16-mixed" if module.options.precision == "bfloat16" else "32-true",
        plugins=[LightningEnvironment(), Beside()],  # also inside a SLURM job: requeueing it is its launcher's work
        max_epochs=epochs,
        reload_dataloaders_every_n_epochs=1,
        logger=logger or False,
        callbacks=[
            ModelCheckpoint(
                folder,
                filename="epoch",
                save_last="link",
                enable_version_counter=False,
                save_on_train_epoch_end=True,
            ),
            *([Told(done)] if done else []),
        ],
        num_sanity_val_steps=0,
        enable_model_summary=False,
        enable_progress_bar=False,
        default_root_dir=folder,
    )
    last = folder / "last.ckpt"
    # ignored: Lightning's advice on loader workers and on folders that hold a checkpoint
    with warnings.catch_warnings(action="ignore"), random_numbers_kept(device):
        try:
            trainer.fit(module, ckpt_path=last if last.exists() else None)
        except SystemExit as error:  # how Lightning passes on a Ctrl-C
            raise KeyboardInterrupt from error
        except BrokenInput as error:  # its message, where a loader's process raised it, is a traceback that ends in it
            raise BrokenInput(str(error).rpartition("BrokenInput: ")[2].strip()) from None
    module.network.eval().to(device).requires_grad_(False)


def placed(device: str) -> dict[str, Any]:
    """Lightning's arguments for this device and no other of its kind."""
    it = torch.device(device)
    return {"accelerator": it.type, "devices": 1 if it.type == "cpu" else [it.index or 0]}


def random_numbers_kept(device: str) -> AbstractContextManager[None]:
    """Afterwards torch's global random numbers, of the CPU and of this device, go on as before; no other is touched."""
    it = torch.device(device)
    if it.type == "cpu":
        return torch.random.fork_rng(devices=[])
    return torch.random.fork_rng(devices=[it.index or 0], device_type=it.type)


class Beside(TorchCheckpointIO):
    """Checkpoints written as a whole: Lightning copies them from the folder of temporary files, maybe another disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()  # torch tells of a full disk by a RuntimeError
        torch.save(checkpoint, content)
        with replacing(Path(path)) as part:
            part.write_bytes(content.getbuffer())

    def load_checkpoint(self, path: str | Path, *how: Any, **options: Any) -> dict[str, Any]:
        try:
            return super().load_checkpoint(path, *how, **options)
        except Exception as error:  # whatever the parsers of damaged bytes raise
            raise Unreadable(f"{path} is damaged, or no checkpoint: delete it and run again") from error


class Told(Callback):
    """Tells somebody how many epochs are done."""

    def __init__(self, done: Callable[[float], None]) -> None:
        self.done = done

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.done(trainer.current_epoch + (batch_idx + 1) / trainer.num_training_batches)


def begin(network: nn.Module) -> None:
    """Put the network into training, but for layers whose own weights are all frozen."""
    network.train()
    for module in network.modules():
        own = list(module.parameters(recurse=False))
        if own and not any(weight.requires_grad for weight in own):
            module.training = False
