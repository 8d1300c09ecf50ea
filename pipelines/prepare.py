"""Settings into objects: data, network and method, all checked before any work starts."""

import inspect
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_object
from pydantic import ValidationError
from torch import nn

from pipelines.config import Settings, Target, explain, json_digest
from pipelines.errors import SettingsError
from rddrs.data import Dataset, random_rotation
from rddrs.methods import Method
from rddrs.models import Rotated, as_logits, digest, load_weights
from rddrs.records import Binding
from rddrs.version import __version__


@dataclass(frozen=True, eq=False)
class Prepared:
    """What the stages work on. The network's weights are random where no checkpoint was given: training makes them."""

    settings: Settings
    data: Dataset
    network: nn.Module
    method: Method
    indices: list[int]
    data_digest: str  # of the data as it was read, before a rotation

    @cached_property
    def classifier_folder(self) -> Path:
        """Where the classifier of this configuration lies: shared by all methods, subsets and certifications."""
        whole = self.settings.configuration
        needed = {name: whole[name] for name in ("classifier", "train", "sigma", "seed")}
        network = self.settings.classifier.target.rpartition(".")[2].lower()
        return self._folder("classifiers", network, needed | {"rotation": self.settings.data.rotation})

    @cached_property
    def run_folder(self) -> Path:
        """Where the records of this configuration lie."""
        if self.settings.run is not None:
            return Path(self.settings.run)
        return self._folder("runs", self.settings.method.name, self.settings.configuration)

    def _folder(self, kind: str, name: str, configuration: dict[str, Any]) -> Path:
        """A folder whose name ends in a digest of all that its content depends on, data and weights by content."""
        settings = self.settings
        weights = None if settings.classifier.checkpoint is None else digest(self.network)
        identity = [configuration, self.data_digest, weights, settings.device.split(":")[0], __version__]
        key = f"sigma{settings.sigma:g}-seed{settings.seed}-{json_digest(identity)[:10]}"
        return settings.root / kind / f"{settings.data.name}-{name}-{key}"

    @property
    def binding(self) -> Binding:
        """What the certificates of this run are bound to, once the network has its weights."""
        return Binding(digest(self.network), self.data_digest, json_digest(self.settings.configuration))


def build(key: str, group: Target, offered: dict[str, Any]) -> Any:
    """The object that the group names, made from its arguments and those of `offered` that it accepts."""
    try:
        factory = get_object(group.target)
    except Exception as error:
        raise SettingsError(f"{key}._target_={group.target} cannot be imported: {error}") from error
    try:
        signature = inspect.signature(factory)
        accepted = {name: value for name, value in offered.items() if name in signature.parameters}
        return factory(**accepted | group.arguments)
    except ValidationError as error:
        raise SettingsError(explain(error, key)) from None
    except (TypeError, ValueError, RuntimeError) as error:
        raise SettingsError(f"{key} ({group.target}): {error}") from error


def build_network(settings: Settings, data: Dataset) -> nn.Module:
    """The network, with the checkpoint's weights where one is given, tried on one input of the data."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = build("classifier", settings.classifier, {"shape": data.shape, "classes": data.classes})
    if not isinstance(network, nn.Module):
        raise SettingsError(f"classifier._target_={settings.classifier.target} is no torch.nn.Module: {type(network)}")
    if settings.classifier.checkpoint is not None:
        try:
            load_weights(network, Path(settings.classifier.checkpoint))
        except ValueError as error:
            raise SettingsError(str(error)) from error
    network = as_logits(network, settings.classifier.output).to(settings.device).eval()
    try:
        with torch.inference_mode():
            shape = tuple(network(data.test_inputs[:1].to(settings.device)).shape)
    except RuntimeError as error:
        message = f"classifier ({settings.classifier.target}) fails on an input of shape {data.shape}: {error}"
        raise SettingsError(message) from error
    if shape != (1, data.classes):
        raise SettingsError(
            f"classifier ({settings.classifier.target}) maps one input to shape {shape}: data={settings.data.name} "
            f"has {data.classes} classes, so (1, {data.classes}) is needed"
        )
    return network


def prepare(settings: Settings) -> Prepared:
    """Build everything that the settings name; raises SettingsError."""
    if settings.classifier.checkpoint is not None and not Path(settings.classifier.checkpoint).is_file():
        raise SettingsError(f"classifier.checkpoint={settings.classifier.checkpoint}: there is no such file")
    data = build("data", settings.data, {})
    if not isinstance(data, Dataset):
        raise SettingsError(f"data._target_={settings.data.target} gives no rddrs.data.Dataset: {type(data)}")
    try:
        indices = data.evaluation_indices(settings.data.subset)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    method = build("method", settings.method, {})
    if not isinstance(method, Method):
        raise SettingsError(f"method._target_={settings.method.target} gives no rddrs.Method: {type(method)}")
    network, data_digest = build_network(settings, data), data.digest
    if settings.data.rotation is not None:
        rotation = random_rotation(data.test_inputs[0].numel(), settings.data.rotation)
        data, network = data.rotated(rotation), Rotated(network, rotation.to(settings.device))
    return Prepared(settings, data, network, method, indices, data_digest)


def unrotated(prepared: Prepared) -> Prepared:
    """The same with the data and the network as they are before the rotation."""
    data = prepared.settings.data.model_copy(update={"rotation": None})
    return prepare(prepared.settings.model_copy(update={"data": data}))
