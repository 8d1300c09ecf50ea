"""Stage 1: the classifier. `python -m pipelines.train` trains it, unless its weights are there already."""

import json
import logging
from typing import TYPE_CHECKING

from pipelines.entry import entry

if TYPE_CHECKING:
    from pathlib import Path

    from pipelines.prepare import Prepared


def train(prepared: "Prepared") -> None:
    """Give the network its weights: trained once for a configuration, then read; freeze it."""
    from filelock import FileLock

    from rddrs.classifiers import load_weights

    folder = prepared.settings.classifier_folder
    folder.mkdir(parents=True, exist_ok=True)
    if prepared.settings.classifier.checkpoint is None:
        weights = folder / "weights.safetensors"
        with FileLock(folder / ".lock"):
            if not weights.exists():
                _fit(prepared, weights)
        load_weights(prepared.network, weights)
    prepared.network.eval().to(prepared.settings.device).requires_grad_(False)


def _fit(prepared: "Prepared", weights: "Path") -> None:
    import pytorch_lightning as lightning
    from pytorch_lightning.callbacks import ModelCheckpoint

    from rddrs.classifiers import save_weights
    from rddrs.scales import Isotropic
    from rddrs.tracking import Tracker, provenance
    from rddrs.training import NoisyTraining

    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    settings, data, folder = prepared.settings, prepared.data, weights.parent
    tracker = Tracker(settings.root, f"train {folder.name}", folder / "mlflow_run_id", {"stage": "train"})
    tracker.parameters(settings.model_dump(include={"data", "classifier", "train", "sigma", "seed"}, by_alias=True))
    tracker.tags(provenance())
    module = NoisyTraining(
        prepared.network,
        data.train_inputs,
        data.train_labels,
        Isotropic(settings.sigma, data.test_inputs[0].numel()),
        learning_rate=settings.train.learning_rate,
        batch=settings.train.batch,
        seed=settings.seed,
    )
    trainer = lightning.Trainer(
        accelerator=settings.device.split(":")[0],
        devices=1,
        max_epochs=settings.train.epochs,
        reload_dataloaders_every_n_epochs=1,
        logger=tracker.lightning_logger(),
        callbacks=[ModelCheckpoint(folder, filename="epoch", save_last="link", enable_version_counter=False)],
        enable_model_summary=False,
        default_root_dir=folder,
    )
    last = folder / "last.ckpt"
    trainer.fit(module, ckpt_path=last if last.exists() else None)
    if trainer.interrupted:
        raise KeyboardInterrupt
    save_weights(prepared.network, weights)
    tracker.link([weights], "classifier")
    tracker.finish()


def measured_batch(prepared: "Prepared") -> int:
    """The micro-batch of the certification: as configured, else measured once and kept beside the classifier."""
    from filelock import FileLock

    from rddrs.smoothing import measure_batch
    from rddrs.store import write_text

    if prepared.settings.certify.batch is not None:
        return prepared.settings.certify.batch
    path = prepared.settings.classifier_folder / "batch.json"
    with FileLock(path.parent / ".lock"):
        if not path.exists():
            x = prepared.data.test_inputs[0].to(prepared.settings.device)
            write_text(path, json.dumps({"batch": measure_batch(prepared.network, x)}))
    return json.loads(path.read_text())["batch"]


if __name__ == "__main__":
    entry(train)()
