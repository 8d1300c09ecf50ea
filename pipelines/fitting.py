"""Training itself, in MLflow: under isotropic noise, or in turn with a scale that grows. It needs Lightning."""

from pathlib import Path

from pipelines.errors import SettingsError
from pipelines.prepared import Prepared
from pipelines.progress import bar_of, tracked
from pipelines.settings import CovarianceTrain
from pipelines.trial import thaw, try_training
from rddrs.data.inputs import Stored
from rddrs.models import load_weights, save_weights
from rddrs.noise import Isotropic, Scale, save_scale
from rddrs.records.tracking import Tracker, provenance
from rddrs.smoothing import Reference
from rddrs.training.augmentation import Augmented
from rddrs.training.cotraining import cotrain
from rddrs.training.fit import fit
from rddrs.training.noisy import NoisyTraining
from rddrs.training.options import TrainingOptions


def fit_network(prepared: Prepared) -> None:
    """Train the network and keep its weights; of a co-training it is fine-tuned from those of the objective alone."""
    try_training(prepared)
    settings, places = prepared.settings, prepared.classifier_places
    tracker = Tracker(settings.root, f"train {places.name}", places.mlflow_run, {"stage": "train"})
    tracker.parameters(settings.model_dump(include={"data", "classifier", "train", "sigma", "seed"}, by_alias=True))
    tracker.tags(provenance())
    if isinstance(settings.train, CovarianceTrain):
        cotrain_network(prepared, settings.train, tracker)
    else:
        isotropic = Isotropic(settings.sigma, prepared.data.test_inputs[0].numel())
        _fit(prepared, isotropic, places.path, tracker, settings.train, settings.train.epochs)
    save_weights(prepared.network, places.weights)
    tracker.link(places.path.glob("*.safetensors"), "classifier")
    tracker.finish()


def cotrain_network(prepared: Prepared, options: CovarianceTrain, tracker: Tracker) -> None:
    """Grow C and fine-tune in turn, from the weights of the objective alone, which are there."""
    settings, data, places = prepared.settings, prepared.data, prepared.classifier_places
    load_weights(prepared.network, prepared.beginning.classifier_places.weights)

    def fine_tune(scale: Scale, turn: int, place: Path) -> None:
        epochs = options.last_epochs if turn == options.rounds - 1 else options.round_epochs
        falling = options.model_copy(update={"schedule": "linear"} if options.schedule == "constant" else {})
        _fit(prepared, scale, place, tracker, falling, epochs, first_epoch=1000 * (turn + 1), prefix=place.name)
        tracker.metrics({"round/geometric_mean": scale.geometric_mean}, step=turn)

    inputs, labels = data.trained_on(settings.seed)
    pilots = data.pilots(settings.seed)
    feared = pilots.inputs.to(settings.device) if prepared.threat.along else None  # a path begins at inputs as they are
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
        places.path,
        options,
        sigma=settings.sigma,
        threat=prepared.threat,
        feared=feared,
        seed=settings.seed,
        norm=settings.certify.norm,
        track=tracked,
    )
    save_scale(scale, places.scale, settings.certify.norm)


def _fit(
    prepared: Prepared,
    scale: Scale,
    folder: Path,
    tracker: Tracker,
    options: TrainingOptions,
    epochs: int,
    *,
    first_epoch: int = 0,
    prefix: str = "",
) -> None:
    """Train under the noise of a scale; `prefix` stands before the names of the curves.

    Raises SettingsError where the training diverges.
    """
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
        crop=settings.data.crop,
        norm=settings.certify.norm,
        objective=prepared.objective,
        augmentation=prepared.augmentation,
    )
    thaw(prepared.network, prepared.frozen)
    logger = tracker.lightning_logger(prefix)
    try:
        with bar_of(epochs, "train") as done:
            fit(module, epochs=epochs, folder=folder, device=settings.device, logger=logger, done=done)
    except FloatingPointError as error:
        raise SettingsError(str(error)) from error
