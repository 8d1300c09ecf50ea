"""Stage 1: the classifier. `python -m pipelines.train` trains it, unless its weights are there already."""

from pipelines.entry import entry

if __name__ == "__main__":  # the configuration is read before torch is imported
    entry("train")()

from filelock import FileLock

from pipelines.deploy import deploy
from pipelines.errors import SettingsError
from pipelines.prepared import Prepared
from rddrs.files import reading
from rddrs.models import deployed_in, load_weights, save_weights
from rddrs.smoothing import on_threads


def train(prepared: Prepared) -> None:
    """Give the network its weights: trained once for a configuration, then read; freeze it, and deploy it."""
    give_weights(prepared)
    deploy(prepared)


def give_weights(prepared: Prepared) -> None:
    """Train the network, once for a configuration, or read what was trained; freeze it."""
    settings, places = prepared.settings, prepared.classifier_places
    places.path.mkdir(parents=True, exist_ok=True)
    deployed = deployed_in(prepared.network)
    if settings.classifier.as_it_is or (deployed and deployed.is_deployed):
        return
    with FileLock(places.lock):
        grown = settings.train.name == "covariance" and not places.scale.exists()  # its C has vanished since
        if grown or not places.weights.exists():
            with on_threads(settings.train.threads):
                make_weights(prepared)
    with reading(places.weights):
        load_weights(prepared.network, places.weights, "weights")
    prepared.network.eval().to(settings.device).requires_grad_(False)


def make_weights(prepared: Prepared) -> None:
    """Train and keep the weights, or those of the same network before a rotation, or in float32 and not compiled."""
    if (plain := prepared.plain) is not None:
        give_weights(plain)
        return save_weights(plain.network, prepared.classifier_places.weights)
    try:
        from pipelines.fitting import fit_network
    except RuntimeError as error:  # Lightning imports a torchvision that is there
        raise SettingsError(
            f"training needs Lightning, which cannot be imported here: {error}. An installed torchvision must fit the "
            'build of torch: train in an environment without the extra "benchmarks" (scripts/peers.sh makes it its own)'
        ) from error
    if prepared.settings.train.name == "covariance":
        give_weights(prepared.beginning)
    fit_network(prepared)
