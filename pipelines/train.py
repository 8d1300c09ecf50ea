"""Stage 1: the classifier. `python -m pipelines.train` trains it, unless its weights are there already."""

from dataclasses import replace
from typing import TYPE_CHECKING

from pipelines.entry import entry
from pipelines.errors import SettingsError
from pipelines.progress import tracked

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from pipelines.prepare import Prepared
    from pipelines.settings import CovarianceTrain
    from rddrs.noise import Scale
    from rddrs.records.tracking import Tracker
    from rddrs.training.options import TrainingOptions


def train(prepared: "Prepared") -> None:
    """Give the network its weights: trained once for a configuration, then read; freeze it."""
    from filelock import FileLock

    from rddrs.models import load_weights
    from rddrs.smoothing import on_threads

    settings, folder = prepared.settings, prepared.classifier_folder
    folder.mkdir(parents=True, exist_ok=True)
    if not settings.classifier.as_it_is:
        weights = folder / "weights.safetensors"
        with FileLock(folder / ".lock"):
            if not weights.exists():
                make = _train if settings.data.rotation is None else _rotate
                with on_threads(settings.train.threads):
                    make(prepared, weights)
        load_weights(prepared.network, weights)
        prepared.network.eval().to(settings.device).requires_grad_(False)


def standard_of(prepared: "Prepared") -> "tuple[str, nn.Module]":
    """The network whose accuracy under isotropic noise fidelity is relative to, and the name of which one it is.

    `own`: the run's network; of a co-trained one `as_long`, that of the counterpart, where the run has one, trained as
    long under isotropic noise, or else `start`, what the rounds began with. Weights that are given have only their own:
    `itself` where they were co-trained.
    """
    from pipelines.prepare import counterpart, started
    from pipelines.settings import CovarianceTrain
    from rddrs.models import scale_file

    settings, shipped = prepared.settings, prepared.settings.classifier.pretrained
    grown = isinstance(settings.train, CovarianceTrain) or (shipped is not None and scale_file(shipped).exists())
    if not grown or settings.classifier.weights is not None:
        return "itself" if grown else "own", prepared.network
    name, other = ("as_long", counterpart) if prepared.threat.perturbations else ("start", started)
    standard = other(prepared)
    train(standard)
    return name, standard.network


def is_trained(prepared: "Prepared") -> bool:
    """Whether the weights are there: given, or trained before."""
    return prepared.settings.classifier.as_it_is or (prepared.classifier_folder / "weights.safetensors").exists()


def _rotate(prepared: "Prepared", weights: "Path") -> None:
    """The weights of the network that is trained before the rotation, so that both answer alike."""
    from pipelines.prepare import unrotated
    from rddrs.models import save_weights

    plain = unrotated(prepared)
    train(plain)
    save_weights(plain.network, weights)


def _train(prepared: "Prepared", weights: "Path") -> None:
    from pipelines.settings import CovarianceTrain
    from pipelines.trial import try_training
    from rddrs.models import save_weights
    from rddrs.noise import Isotropic
    from rddrs.records.tracking import Tracker, provenance

    try:
        import rddrs.training.fit  # noqa: F401
    except RuntimeError as error:  # Lightning imports a torchvision that is there
        raise SettingsError(
            f"training needs Lightning, which cannot be imported here: {error}. An installed torchvision must fit the "
            'build of torch: train in an environment without the extra "benchmarks" (scripts/peers.sh makes it its own)'
        ) from error

    try_training(prepared)
    settings, folder = prepared.settings, weights.parent
    tracker = Tracker(settings.root, f"train {folder.name}", folder / "mlflow_run_id", {"stage": "train"})
    tracker.parameters(settings.model_dump(include={"data", "classifier", "train", "sigma", "seed"}, by_alias=True))
    tracker.tags(provenance())
    if isinstance(settings.train, CovarianceTrain):
        _cotrain(prepared, settings.train, folder, tracker)
    else:
        isotropic = Isotropic(settings.sigma, prepared.data.test_inputs[0].numel())
        _fit(prepared, isotropic, folder, tracker, settings.train, settings.train.epochs)
    save_weights(prepared.network, weights)
    tracker.link(folder.glob("*.safetensors"), "classifier")
    tracker.finish()


def _cotrain(prepared: "Prepared", options: "CovarianceTrain", folder: "Path", tracker: "Tracker") -> None:
    """Grow C and fine-tune in turn, from the classifier of `train=gaussian`."""
    from rddrs.data.inputs import Stored
    from rddrs.noise import save_scale
    from rddrs.smoothing import Reference
    from rddrs.training.augmentation import Augmented
    from rddrs.training.cotraining import cotrain

    settings, data = prepared.settings, prepared.data
    train(replace(prepared, settings=settings.model_copy(update={"train": options.isotropic})))

    def fine_tune(scale: "Scale", turn: int, place: "Path") -> None:
        epochs = options.last_epochs if turn == options.rounds - 1 else options.round_epochs
        falling = options.model_copy(update={"schedule": "linear"} if options.schedule == "constant" else {})
        _fit(prepared, scale, place, tracker, falling, epochs, first_epoch=1000 * (turn + 1), prefix=place.name)
        tracker.metrics({"round/geometric_mean": scale.geometric_mean}, step=turn)

    inputs, labels = data.trained_on(settings.seed)
    pilots = data.pilots(settings.seed)
    if prepared.augmentation is not None:  # C grows along what the network is trained on
        inputs = Augmented(inputs, prepared.augmentation, settings.seed)
        pilots = Reference(Augmented(Stored(pilots.inputs), prepared.augmentation, settings.seed)[:], pilots.labels)
    pilots = pilots.to(settings.device)
    scale = cotrain(
        prepared.network,
        inputs,
        labels.to(settings.device),
        pilots,
        fine_tune,
        folder,
        options,
        sigma=settings.sigma,
        threat=prepared.threat,
        seed=settings.seed,
        norm=settings.certify.norm,
        track=tracked,
    )
    save_scale(scale, folder / "scale.safetensors", settings.certify.norm)


def _fit(
    prepared: "Prepared",
    scale: "Scale",
    folder: "Path",
    tracker: "Tracker",
    options: "TrainingOptions",
    epochs: int,
    *,
    first_epoch: int = 0,
    prefix: str = "",
) -> None:
    """Train under the noise of a scale; `prefix` stands before the names of the curves."""
    from pipelines.trial import thaw
    from rddrs.training.fit import fit
    from rddrs.training.noisy import NoisyTraining

    settings, data = prepared.settings, prepared.data
    inputs, labels = data.trained_on(settings.seed)
    module = NoisyTraining(
        prepared.network,
        inputs,
        labels,
        scale,
        data.held_out(settings.seed),
        options,
        seed=settings.seed,
        first_epoch=first_epoch,
        flip=settings.data.flip,
        norm=settings.certify.norm,
        objective=prepared.objective,
        augmentation=prepared.augmentation,
    )
    thaw(prepared.network, prepared.frozen)
    fit(module, epochs=epochs, folder=folder, device=settings.device, logger=tracker.lightning_logger(prefix))


def measured_batch(prepared: "Prepared") -> int:
    """The micro-batch of the certification: as configured, else measured once and kept beside the classifier."""
    from rddrs.smoothing import kept_batch

    settings = prepared.settings
    x = prepared.data.test_inputs[0].to(settings.device)
    return settings.certify.batch or kept_batch(prepared.network, x, prepared.classifier_folder / "batch.json")


if __name__ == "__main__":
    entry(train)()
