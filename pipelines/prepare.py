"""Settings into objects: data, network and method, all checked before any work starts."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import get_object
from torch import nn

from pipelines.build import build, check_card, doubts
from pipelines.config import json_digest
from pipelines.errors import SettingsError
from pipelines.networks import build_network
from pipelines.settings import CovarianceTrain, Settings, Shard
from pipelines.settings import Method as MethodSettings
from rddrs.certification import PathTerms
from rddrs.certification.cells import Course
from rddrs.data import Dataset, random_rotation
from rddrs.digests import file_digest
from rddrs.methods import Method
from rddrs.models import Rotated, digest
from rddrs.noise import Grid, Isotropic, Scale, family_of
from rddrs.records import Binding
from rddrs.threats import PERTURBATIONS, Perturbation, Threat
from rddrs.training.augmentation import Augmentation
from rddrs.training.objectives import Objective
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
    paths: dict[str, PathTerms]
    augmentation: Augmentation | None
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
        needed |= {} if self.augmentation is None else {"augment": repr(self.augmentation)}
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
        found["method"] |= self.method.contents
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

    def path_terms(self, name: str, scale: Scale) -> PathTerms:
        """What is asked of a path under a scale, in whose norm the slack is."""
        ball = family_of(self.settings.certify.norm).ball(scale)
        return replace(self.paths[name], slack=self.settings.certify.path_slack / ball)

    @property
    def _network_digest(self) -> str:
        return digest(self.network, self.data.test_inputs[:8].to(self.settings.device))

    @cached_property
    def binding(self) -> Binding:
        """What the certificates of this run are bound to, once the network has its weights."""
        return Binding(self._network_digest, self.data_digest, json_digest(self.configuration))


def objective_of(settings: Settings) -> Objective:
    """What training minimises."""
    named, norm = settings.train.objective, settings.certify.norm
    objective = build("train.objective", named, {})
    if not isinstance(objective, Objective):
        what = f"{Objective.__module__}.{Objective.__name__}"
        raise SettingsError(f"train.objective._target_={named.target} gives no {what}: {type(objective)}")
    if norm not in objective.norms:
        alone = ", ".join(objective.norms)
        raise SettingsError(f"train.objective={named.name} is of {alone} alone: certify.norm={norm}")
    return objective


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


def perturbation_of(key: str, name: str) -> Perturbation:
    """The perturbation that a key names: one of the project, or an importable one."""
    known = {it.name: it for it in PERTURBATIONS}
    if name in known:
        return known[name]
    try:
        found = get_object(name)
    except Exception as error:
        told = f"it is none of {', '.join(known)}, and cannot be imported"
        raise SettingsError(f"{key}={name}: {told}: {error}") from error
    if not isinstance(found, Perturbation):
        raise SettingsError(f"{key}={name}: it must be a rddrs.Perturbation, not a {type(found).__name__}")
    return found


def paths_of(settings: Settings, data: Dataset) -> dict[str, PathTerms]:
    """What is asked of the paths, by their names; each is tried on an input of the data's shape."""
    options = settings.certify
    shared: dict[str, Any] = {"alpha": options.alpha, "samples": options.path_samples, "seed": settings.seed}
    shared |= {"selection_samples": options.selection_samples, "clamp": clamp_of(settings, data)}
    shared["rounding"] = data.grid if options.rounding == "auto" else options.rounding
    found, x = {}, torch.rand(data.shape, generator=torch.Generator().manual_seed(0))
    for key, asked in options.paths.items():
        parts = tuple(perturbation_of("certify.paths", name) for name in key.split("+"))
        try:
            low, high = path_ends(parts, asked)
            Course(parts, x, shared["clamp"]).cells(*(torch.tensor([end], dtype=torch.float64) for end in (low, high)))
        except ValueError as error:
            raise SettingsError(f"certify.paths.{key}={asked}: {error}") from error
        ends = (low, high) if len(parts) > 1 else (low[0], high[0])
        found["+".join(it.name for it in parts)] = PathTerms(parts, *ends, **shared)
    return found


def path_ends(parts: tuple[Perturbation, ...], asked: float | list[float]) -> tuple[tuple[float, ...], ...]:
    """From which to which severities a path goes: both ways up to a number, or from one of two numbers to the other.

    Of two perturbations it is a number each. Raises ValueError where the numbers are not those.
    """
    numbers = asked if isinstance(asked, list) else [asked]
    if len(parts) == 1 and len(numbers) == 2:
        low, high = (numbers[0],), (numbers[1],)
    elif len(numbers) == len(parts) <= 2 and min(numbers) > 0:
        low = tuple(-end if it.two_sided else 0.0 for it, end in zip(parts, numbers, strict=True))
        high = tuple(numbers)
    else:
        raise ValueError("a positive severity for each of one or two perturbations is needed, or [low, high] of one")
    if not all(start <= 0 <= end and start < end for start, end in zip(low, high, strict=True)):
        raise ValueError("low <= 0 <= high and low < high are needed")
    if any(start < 0 and not it.two_sided for it, start in zip(parts, low, strict=True)):
        raise ValueError("it has no negative severities: [0, high] is needed")
    return low, high


def augmentation_of(settings: Settings, data: Dataset) -> Augmentation | None:
    """How training inputs are perturbed, if at all."""
    if not settings.train.augment:
        return None
    limits = {perturbation_of("train.augment", name): limit for name, limit in settings.train.augment.items()}
    augmentation = Augmentation(limits, clamp_of(settings, data))
    try:
        augmentation.require(data.shape)
    except ValueError as error:
        raise SettingsError(f"train.augment: {error}") from error
    return augmentation


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
        method.require(data.shape)
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
    paths, augmentation = paths_of(settings, data), augmentation_of(settings, data)
    prepared = Prepared(
        settings,
        data,
        network,
        method,
        threat,
        paths,
        augmentation,
        objective,
        indices,
        data_digest,
        tuple(notes),
        found.frozen,
        start,
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
    changes["certify"] = replace(settings.certify, mode="per_input")
    return prepare(settings.model_copy(update=changes))


def started(prepared: Prepared) -> Prepared:
    """The same with the network that the rounds of a co-training start from."""
    return prepare(prepared.settings.model_copy(update={"train": prepared.settings.train.isotropic}))


def unrotated(prepared: Prepared) -> Prepared:
    """The same with the data and the network as they are before the rotation."""
    data = prepared.settings.data.model_copy(update={"rotation": None})
    return prepare(prepared.settings.model_copy(update={"data": data}))
