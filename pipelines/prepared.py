"""What the stages work on: everything that the settings name, and where the results lie."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from pipelines.asked import clamp_of, rounding_of
from pipelines.config import json_digest
from pipelines.errors import SettingsError
from pipelines.settings import CovarianceTrain, MethodChoice, Settings, Shard
from rddrs.certification import PathTerms, Terms
from rddrs.certification.paths import feared
from rddrs.data import Dataset
from rddrs.digests import source_digest
from rddrs.methods import Method
from rddrs.models import digest
from rddrs.noise import Scale, family_of
from rddrs.records import Binding, ClassifierFolder, OutputRoot, RunFolder, Store
from rddrs.smoothing import Reference
from rddrs.threats import PERTURBATIONS, Threat
from rddrs.training.augmentation import Augmentation
from rddrs.training.objectives import Objective
from rddrs.version import __version__

FEW = 500
"""A run of more inputs keeps their regions in archives, of fewer in a file each."""


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
    again: Callable[[Settings], "Prepared"] = field(repr=False)  # with other settings of the same data
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
        needed |= {"code": own} if (own := {name: self.code[name] for name in names if name in self.code}) else {}
        needed |= {} if self.augmentation is None else {"augment": repr(self.augmentation)}
        network = self.settings.classifier.target.rpartition(".")[2].lower()
        return self._folder("classifiers", network, needed | self.settings.data.training)

    @property
    def classifier_places(self) -> ClassifierFolder:
        return ClassifierFolder(self.classifier_folder)

    @property
    def is_trained(self) -> bool:
        """Whether the weights are there: given, or trained before."""
        return self.settings.classifier.as_it_is or self.classifier_places.weights.exists()

    @property
    def left(self) -> set[int]:
        """The indices of the inputs whose regions are not there."""
        return {*self.indices} - Store(self.run_folder).finished()

    @cached_property
    def run_folder(self) -> Path:
        """Where the records of this configuration lie."""
        if self.settings.run is not None:
            return Path(self.settings.run)
        norm = "" if self.settings.certify.norm == "l2" else f"-{self.settings.certify.norm}"
        return self._folder("runs", f"{self.settings.method.name}{norm}", self.configuration)

    @property
    def places(self) -> RunFolder:
        return RunFolder(self.run_folder)

    @property
    def root(self) -> OutputRoot:
        return OutputRoot(self.settings.root)

    @property
    def store(self) -> Store:
        """The regions of this run, bound to its classifier, once that has its weights."""
        return Store(self.run_folder, self.binding, packed=len(self.indices) > FEW)

    @property
    def configuration(self) -> dict[str, Any]:
        """What the configuration decides of a result, with the threat where something is aimed at it."""
        own = self.threat.reported != PERTURBATIONS or "threat" in type(self.method).model_fields
        aimed = own or self.settings.train.name == "covariance"
        found: dict[str, Any] = self.settings.identity | ({"threat": repr(self.threat)} if aimed else {})
        found["train"]["objective"] = repr(self.objective)
        found["method"] |= self.method.contents
        return found | ({"code": self.code} if self.code else {})

    @cached_property
    def code(self) -> dict[str, str]:
        """What a user's own network, method, objective and perturbations of paths are, by the parts that name them."""
        settings = self.settings
        named = {"classifier": settings.classifier, "method": settings.method, "train": settings.train.objective}
        found = {part: source_digest(target.every) for part, target in named.items()}
        own = {it.identity for terms in self.paths.values() for it in feared(terms.perturbation)}
        found["certify"] = ",".join(sorted(own - {it.name for it in PERTURBATIONS}))
        return {part: code for part, code in found.items() if code}

    def _folder(self, kind: str, name: str, configuration: dict[str, Any]) -> Path:
        """A folder whose name ends in a digest of all that its content depends on, data and weights by content."""
        settings = self.settings
        weights = self._given_digest if settings.classifier.as_it_is else None
        identity = [configuration, self.data_digest, weights, self.start, settings.device.split(":")[0], __version__]
        key = f"sigma{settings.sigma:g}-seed{settings.seed}-{json_digest(identity)[:10]}"
        return settings.root / kind / f"{settings.data.name}-{name}-{key}"

    @property
    def shown_settings(self) -> dict[str, Any]:
        """The settings as they stand in MLflow."""
        return self.settings.model_dump(by_alias=True, exclude={"shard", "output_root", "run"})

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
        return rounding_of(self.settings, self.data)

    @property
    def terms(self) -> Terms:
        """What is asked of every certificate."""
        changed = {"clamp": self.clamp, "rounding": self.rounding}
        return self.settings.certify.terms(grid=self.grid, seed=self.settings.seed, **changed)

    def path_terms(self, name: str, scale: Scale) -> PathTerms:
        """What is asked of a path under a scale, in whose norm the slack is."""
        ball = family_of(self.settings.certify.norm).ball(scale)
        return replace(self.paths[name], slack=self.settings.certify.path_slack / ball)

    @cached_property
    def _given_digest(self) -> str:
        """Of weights that are given: what the network is, before it is deployed."""
        return self._network_digest

    @property
    def _network_digest(self) -> str:
        return digest(self.network, self.data.test_inputs[:8].to(self.settings.device))

    @cached_property
    def binding(self) -> Binding:
        """What the certificates of this run are bound to, once the network has its weights."""
        return Binding(self._network_digest, self.data_digest, json_digest(self.configuration))

    def labelled(self) -> Iterator[tuple[int, Tensor, int]]:
        """Index, input and label of what is certified, one by one."""
        for index in self.indices:
            yield index, self.data.test_inputs[index], int(self.data.test_labels[index])

    def reference(self, part: int = 0) -> Reference:
        """Training inputs: those that contradictions are counted on, or, in part 1, those that a method looks at."""
        return self.data.reference(self.settings.data.reference, self.settings.seed, part).to(self.settings.device)

    def refuse_a_folder(self) -> None:
        """Raise SettingsError where the settings are those of a run that was made elsewhere."""
        if self.settings.run is not None:
            raise SettingsError(f"run={self.settings.run}: only python -m pipelines.audit takes the folder of a run")

    @property
    def is_compared(self) -> bool:
        """Whether its severities stand beside those of its counterpart."""
        own = self.settings.method.name == "rs" and self.settings.train.name != "covariance"
        return bool(self.threat.perturbations) and not own

    @cached_property
    def counterpart(self) -> "Prepared":
        """The same inputs under RS, with a classifier that is trained as long under isotropic noise."""
        options = self.settings.train
        method = MethodChoice(name="rs", _target_="rddrs.RS")
        training = options.as_long if isinstance(options, CovarianceTrain) else options
        changes: dict[str, Any] = {"method": method, "train": training, "shard": Shard(count=1, index=0), "run": None}
        changes["certify"] = replace(self.settings.certify, mode="per_input")
        return self.again(self.settings.model_copy(update=changes))

    @cached_property
    def beginning(self) -> "Prepared":
        """The same with the network that the rounds of a co-training start from."""
        return self.again(self.settings.model_copy(update={"train": self.settings.train.isotropic}))

    @cached_property
    def plain(self) -> "Prepared | None":
        """The same before its data are rotated, or with a network in float32 that is not compiled: one of its weights.

        None where this is it, or where C grows with the network, by what it answers as it is.
        """
        settings, changes = self.settings, dict[str, Any]()
        if settings.data.rotation is not None:
            changes["data"] = settings.data.model_copy(update={"rotation": None})
        elif settings.train.name != "covariance":
            as_trained = {"precision": "float32", "compile": False, "runtime": "torch"}
            changes["classifier"] = settings.classifier.model_copy(update=as_trained)
        plain = settings.model_copy(update=changes)
        return None if plain == settings else self.again(plain)
