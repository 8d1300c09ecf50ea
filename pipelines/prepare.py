"""Settings into objects: data, network and method, all checked before any work starts."""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from hydra.utils import get_object
from pydantic import ValidationError
from torch import nn

from pipelines.build import build, check_card, doubts
from pipelines.config import explain, json_digest
from pipelines.errors import SettingsError
from pipelines.networks import build_network
from pipelines.settings import CovarianceTrain, Settings, Shard
from pipelines.settings import Method as MethodSettings
from rddrs.data import Dataset, random_rotation
from rddrs.digests import file_digest
from rddrs.methods import Method
from rddrs.models import Rotated, digest
from rddrs.noise import Grid, Isotropic
from rddrs.records import Binding
from rddrs.threats import PERTURBATIONS, Threat
from rddrs.training.objectives import OBJECTIVES, Objective
from rddrs.version import __version__


@dataclass(frozen=True, eq=False)
class Prepared:
    """What the stages work on. The network's weights are random where none were given: training makes them.

    `notes` is what a person should know before the work starts.
    """

    settings: Settings
    data: Dataset
    network: nn.Module
    method: Method
    threat: Threat
    objective: Objective
    indices: list[int]
    data_digest: str  # of the data as it was read, before a rotation
    notes: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()  # weights that training leaves alone
    start: str | None = None  # what training starts from, by content

    @cached_property
    def classifier_folder(self) -> Path:
        """Where the classifier of this configuration lies: shared by all methods, subsets and certifications."""
        names = ["classifier", "train", "sigma", "seed"]
        names += ["threat"] if self.settings.train.name == "covariance" else []
        needed = {name: self.configuration[name] for name in names}
        needed["norm"] = self.settings.certify.norm
        network = self.settings.classifier.target.rpartition(".")[2].lower()
        return self._folder(
            "classifiers", network, needed | self.settings.data.model_dump(include={"rotation", "flip"})
        )

    @cached_property
    def run_folder(self) -> Path:
        """Where the records of this configuration lie."""
        if self.settings.run is not None:
            return Path(self.settings.run)
        norm = "" if self.settings.certify.norm == "l2" else f"-{self.settings.certify.norm}"
        return self._folder("runs", f"{self.settings.method.name}{norm}", self.configuration)

    @property
    def configuration(self) -> dict[str, Any]:
        """What the configuration decides of a result, with the threat where something is aimed at it."""
        own = self.threat.reported != PERTURBATIONS or "threat" in type(self.method).model_fields
        aimed = own or self.settings.train.name == "covariance"
        found: dict[str, Any] = self.settings.configuration | ({"threat": repr(self.threat)} if aimed else {})
        found["train"]["objective"] = repr(self.objective)
        return found

    def _folder(self, kind: str, name: str, configuration: dict[str, Any]) -> Path:
        """A folder whose name ends in a digest of all that its content depends on, data and weights by content."""
        settings = self.settings
        weights = self._network_digest if settings.classifier.as_it_is else None
        identity = [configuration, self.data_digest, weights, self.start, settings.device.split(":")[0], __version__]
        key = f"sigma{settings.sigma:g}-seed{settings.seed}-{json_digest(identity)[:10]}"
        return settings.root / kind / f"{settings.data.name}-{name}-{key}"

    @property
    def grid(self) -> float | None:
        """The step of the grid that noise is rounded to, if any."""
        return self.data.grid if self.settings.certify.grid == "auto" else self.settings.certify.grid

    @property
    def clamp(self) -> tuple[float, float] | None:
        """The range that perturbed images are brought to, if any."""
        return clamp_of(self.settings, self.data)

    @property
    def rounding(self) -> float | None:
        """The step that perturbed images are rounded to, if any."""
        return self.data.grid if self.settings.certify.rounding == "auto" else self.settings.certify.rounding

    @property
    def _network_digest(self) -> str:
        return digest(self.network, self.data.test_inputs[:8].to(self.settings.device))

    @cached_property
    def binding(self) -> Binding:
        """What the certificates of this run are bound to, once the network has its weights."""
        return Binding(self._network_digest, self.data_digest, json_digest(self.configuration))


def objective_of(settings: Settings) -> Objective:
    """What training minimises."""
    options = dict(settings.train.objective)
    name = options.pop("name", None)
    if name not in OBJECTIVES:
        raise SettingsError(f"train.objective.name={name}: it must be one of {', '.join(OBJECTIVES)}")
    if (norm := settings.certify.norm) not in OBJECTIVES[name].norms:
        raise SettingsError(f"train.objective.name={name} is of Gaussian noise and l2 alone: certify.norm={norm}")
    try:
        return OBJECTIVES[name](**options)
    except ValidationError as error:
        raise SettingsError(explain(error, "train.objective")) from None


def clamp_of(settings: Settings, data: Dataset) -> tuple[float, float] | None:
    """The range that perturbed images are brought to, if any."""
    if settings.certify.clamp != "auto":
        return settings.certify.clamp
    return None if settings.data.rotation is not None else data.limits


def threat_of(settings: Settings, data: Dataset) -> Threat:
    """What the settings name: perturbations of the project, importable functions, files of patterns, and the volume."""
    parts, weights = [], []
    for name, weight in settings.threat.items():
        if name == "volume":
            continue
        found: list[Any] = [name]
        if name.endswith(".npy"):
            try:
                found = list(np.load(name).reshape(-1, *data.shape))
            except (OSError, ValueError) as error:
                raise SettingsError(f"threat={name}: patterns of shape {data.shape} are needed: {error}") from error
        elif "." in name:
            try:
                found = [get_object(name)]
            except Exception as error:
                raise SettingsError(f"threat={name} cannot be imported: {error}") from error
        parts += found
        weights += [weight / len(found)] * len(found)
    try:
        volume = settings.threat.get("volume", 0.0 if parts else 1.0)
        threat = Threat(*parts, weights=weights, volume=volume, clamp=clamp_of(settings, data))
        threat.require(data.shape)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    known = {it.name: it.limit for it in threat.reported if it.applies(data.shape)}
    for name, asked in settings.threat_at.items():
        if name not in known:
            raise SettingsError(f"threat_at.{name}: inputs of shape {data.shape} have {', '.join(known)}")
        if asked > known[name]:
            raise SettingsError(f"threat_at.{name}={asked:g}: severities of {name} end at {known[name]:g}")
    return threat


def prepare(settings: Settings) -> Prepared:
    """Build everything that the settings name; raises SettingsError."""
    for key, file in {"train.start": settings.train.start, **settings.given}.items():
        if file is not None and not Path(file).is_file():
            raise SettingsError(f"{key}={file}: there is no such file")
    data = build("data", settings.data, {})
    if not isinstance(data, Dataset):
        raise SettingsError(f"data._target_={settings.data.target} gives no rddrs.data.Dataset: {type(data)}")
    if settings.data.flip and len(data.shape) != 3:
        raise SettingsError(f"data.flip=true mirrors images; the inputs have shape {data.shape}: set data.flip=false")
    try:
        indices = data.evaluation_indices(settings.data.subset)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    threat, objective = threat_of(settings, data), objective_of(settings)
    check_card(settings, data)
    method = build("method", settings.method, {"threat": threat, "norm": settings.certify.norm})
    if not isinstance(method, Method):
        raise SettingsError(f"method._target_={settings.method.target} gives no rddrs.Method: {type(method)}")
    try:
        method.require(math.prod(data.shape))
    except ValueError as error:
        raise SettingsError(str(error)) from error
    data_digest = data.digest  # before a network sees the data
    found = build_network(settings, data)
    settings, network = found.settings, found.network
    try:
        method.require_gradient(network, data.test_inputs[indices[0]].to(settings.device))
    except ValueError as error:
        raise SettingsError(f"method={settings.method.name}: {error}") from error
    notes = [*data.notes, *found.notes, *doubts(network, settings, data)]
    start = None if settings.train.start is None else file_digest(Path(settings.train.start))
    if found.brings:
        start = digest(network, data.test_inputs[:8].to(settings.device))
    if settings.data.rotation is not None:
        rotation = random_rotation(data.test_inputs[0].numel(), settings.data.rotation)
        data, network = data.rotated(rotation), Rotated(network, rotation.to(settings.device))
    start = f"{start} without {found.frozen}" if found.frozen and not settings.classifier.as_it_is else start
    prepared = Prepared(
        settings, data, network, method, threat, objective, indices, data_digest, tuple(notes), found.frozen, start
    )
    check_grid(prepared)
    check_clamp(prepared)
    return prepared


def check_grid(prepared: Prepared) -> None:
    """Raise SettingsError where an input to be certified does not lie on the grid, or is too far out for its step."""
    if (step := prepared.grid) is None:
        return
    own, inputs = prepared.data.grid, prepared.data.test_inputs
    finer = own is not None and math.isclose(own / step, round(own / step), rel_tol=1e-9) and own / step > 0.5
    for index in prepared.indices[:1] if finer else prepared.indices:
        x = inputs[index].flatten()
        try:
            Grid(x, Isotropic(prepared.settings.sigma, len(x)), step)
        except ValueError as error:
            raise SettingsError(f"certify.grid={prepared.settings.certify.grid}: input {index}: {error}") from error


def check_clamp(prepared: Prepared) -> None:
    """Raise SettingsError where an input to be certified lies outside of the range that its changes are brought to."""
    if prepared.settings.certify.clamp == "auto" or prepared.clamp is None:
        return
    low, high = prepared.clamp
    for index in prepared.indices:
        least, most = (float(it) for it in prepared.data.test_inputs[index].aminmax())
        if not (low <= least and most <= high):
            told = f"certify.clamp={list(prepared.clamp)}: input {index} has values from {least:g} to {most:g}"
            raise SettingsError(f"{told}: give the data's own range, or null")


def counterpart(prepared: Prepared) -> Prepared:
    """The same inputs under RS, with a classifier that is trained as long under isotropic noise."""
    settings, options = prepared.settings, prepared.settings.train
    method = MethodSettings(name="rs", _target_="rddrs.RS")
    training = options.as_long if isinstance(options, CovarianceTrain) else options
    changes: dict[str, Any] = {"method": method, "train": training, "shard": Shard(count=1, index=0), "run": None}
    changes["certify"] = settings.certify.model_copy(update={"mode": "per_input"})
    return prepare(settings.model_copy(update=changes))


def started(prepared: Prepared) -> Prepared:
    """The same with the network that the rounds of a co-training start from."""
    return prepare(prepared.settings.model_copy(update={"train": prepared.settings.train.isotropic}))


def unrotated(prepared: Prepared) -> Prepared:
    """The same with the data and the network as they are before the rotation."""
    data = prepared.settings.data.model_copy(update={"rotation": None})
    return prepare(prepared.settings.model_copy(update={"data": data}))
