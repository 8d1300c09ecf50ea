"""Stage 1: the classifier. `python -m pipelines.train` trains it, unless its weights are there already."""

import json
import logging
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

from pipelines.config import CovarianceTrain, GaussianTrain
from pipelines.entry import entry

if TYPE_CHECKING:
    from pathlib import Path

    from pipelines.prepare import Prepared
    from rddrs.noise import Scale
    from rddrs.records.tracking import Tracker


def train(prepared: "Prepared") -> None:
    """Give the network its weights: trained once for a configuration, then read; freeze it."""
    from filelock import FileLock

    from rddrs.models import load_weights

    settings = prepared.settings
    folder = settings.classifier_folder
    folder.mkdir(parents=True, exist_ok=True)
    if settings.classifier.checkpoint is None:
        weights = folder / "weights.safetensors"
        with FileLock(folder / ".lock"):
            if not weights.exists():
                make = _train if settings.data.rotation is None else _rotate
                make(prepared, weights)
        load_weights(prepared.network, weights)
    prepared.network.eval().to(settings.device).requires_grad_(False)


def _rotate(prepared: "Prepared", weights: "Path") -> None:
    """The weights of the network that is trained before the rotation, so that both answer alike."""
    from pipelines.prepare import unrotated
    from rddrs.models import save_weights

    plain = unrotated(prepared)
    train(plain)
    prepared.network.load_state_dict({f"network.{name}": value for name, value in plain.network.state_dict().items()})
    save_weights(prepared.network, weights)


def _train(prepared: "Prepared", weights: "Path") -> None:
    from rddrs.models import save_weights
    from rddrs.noise import Isotropic
    from rddrs.records.tracking import Tracker, provenance

    settings, folder = prepared.settings, weights.parent
    tracker = Tracker(settings.root, f"train {folder.name}", folder / "mlflow_run_id", {"stage": "train"})
    tracker.parameters(settings.model_dump(include={"data", "classifier", "train", "sigma", "seed"}, by_alias=True))
    tracker.tags(provenance())
    if isinstance(settings.train, CovarianceTrain):
        _covariance_rounds(prepared, settings.train, folder, tracker)
    else:
        isotropic = Isotropic(settings.sigma, prepared.data.test_inputs[0].numel())
        _fit(prepared, isotropic, settings.train.epochs, folder, tracker)
    save_weights(prepared.network, weights)
    tracker.link(folder.glob("*.safetensors"), "classifier")
    tracker.finish()


def _covariance_rounds(prepared: "Prepared", options: CovarianceTrain, folder: "Path", tracker: "Tracker") -> None:
    """Grow C and fine-tune in turn, from the classifier of `train=gaussian`; finished rounds are kept and read."""
    from rddrs.models import load_weights, save_weights
    from rddrs.noise import Isotropic
    from rddrs.records import load_scale, save_scale
    from rddrs.training.cotraining import grow, mean_radius, pilot

    settings, network, data = prepared.settings, prepared.network, prepared.data
    gaussian = GaussianTrain(
        name="gaussian", epochs=options.epochs, learning_rate=options.learning_rate, batch=options.batch
    )
    train(replace(prepared, settings=settings.model_copy(update={"train": gaussian})))
    inputs, labels = data.train_inputs.to(settings.device), data.train_labels.to(settings.device)
    scale: Scale = Isotropic(settings.sigma, inputs[0].numel())
    noise = scale.noise(pilot(scale, inputs, settings.seed))
    least_radius = options.keep * mean_radius(network, inputs, labels, noise)
    for turn in range(options.rounds):
        place = folder / f"round{turn}"
        place.mkdir(exist_ok=True)
        weights, region = place / "weights.safetensors", place / "scale.safetensors"
        if not region.exists():
            bounds = {"floor": settings.sigma, "least_radius": least_radius, "growth": options.growth}
            save_scale(grow(network, inputs, labels, scale, **bounds, seed=settings.seed, turn=turn), region)
        scale = load_scale(region)
        if not weights.exists():
            epochs = options.last_epochs if turn == options.rounds - 1 else options.round_epochs
            _fit(prepared, scale, epochs, place, tracker, first_epoch=1000 * (turn + 1), anneal=True)
            save_weights(network, weights)
        load_weights(network, weights)
        network.eval().to(settings.device).requires_grad_(False)
        tracker.metrics({"round/geometric_mean": scale.geometric_mean}, step=turn)
    save_scale(scale, folder / "scale.safetensors")


def _fit(
    prepared: "Prepared",
    scale: "Scale",
    epochs: int,
    folder: "Path",
    tracker: "Tracker",
    first_epoch: int = 0,
    anneal: bool = False,
) -> None:
    """Train under the noise of a scale with Lightning, from the last whole epoch that `folder` has a checkpoint of."""
    import pytorch_lightning as lightning
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from pytorch_lightning.callbacks import ModelCheckpoint

    from rddrs.training.noisy import NoisyTraining

    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    settings, data = prepared.settings, prepared.data
    prepared.network.train().requires_grad_(True)
    module = NoisyTraining(
        prepared.network,
        data.train_inputs,
        data.train_labels,
        scale,
        learning_rate=settings.train.learning_rate,
        batch=settings.train.batch,
        seed=settings.seed,
        first_epoch=first_epoch,
        anneal=anneal,
    )
    trainer = lightning.Trainer(
        accelerator=settings.device.split(":")[0],
        devices=1,
        plugins=[LightningEnvironment()],  # also inside a SLURM job: requeueing it is its launcher's work
        max_epochs=epochs,
        reload_dataloaders_every_n_epochs=1,
        logger=tracker.lightning_logger(),
        callbacks=[ModelCheckpoint(folder, filename="epoch", save_last="link", enable_version_counter=False)],
        enable_model_summary=False,
        default_root_dir=folder,
    )
    last = folder / "last.ckpt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's advice: on loader workers, on folders that hold a checkpoint
        trainer.fit(module, ckpt_path=last if last.exists() else None)
    if trainer.interrupted:
        raise KeyboardInterrupt


def measured_batch(prepared: "Prepared") -> int:
    """The micro-batch of the certification: as configured, else measured once and kept beside the classifier."""
    from filelock import FileLock

    from rddrs.files import write_text
    from rddrs.smoothing import measure_batch

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
