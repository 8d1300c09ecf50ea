"""The configuration, checked: every wrong key, type or range is an error before any work starts."""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from pipelines.errors import SettingsError


@cache
def known_digest(path: Path) -> str:
    """The digest of what lies at a path, read once in a process."""
    from rddrs.digests import path_digest

    return path_digest(path)


class Group(BaseModel):
    """A part of the configuration."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)


class Target(Group):
    """A part that names an importable object; keys that are not fields are that object's arguments."""

    model_config = ConfigDict(extra="allow")
    target: str = Field(alias="_target_")

    @property
    def arguments(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Data(Target):
    name: str
    epochs: PositiveInt
    flip: bool
    subset: PositiveInt | None
    reference: PositiveInt
    rotation: NonNegativeInt | None

    def content(self, place: str) -> str:
        """What the files of the data are told apart by: their content; that of canonical files is their name."""
        if self.target.rpartition(".")[2] in ("mnist", "fashion_mnist", "cifar10"):
            return self.target
        return known_digest(Path(place))


class Normalize(Group):
    mean: list[float] | None
    std: list[float] | None

    @model_validator(mode="after")
    def both_or_none(self) -> Self:
        if (self.mean is None) != (self.std is None):
            raise ValueError(f"mean={self.mean} std={self.std}: give both, one number a channel, or none")
        return self


class Classifier(Target):
    output: Literal["logits", "probabilities"]
    checkpoint: str | None
    epochs: PositiveInt
    normalize: Normalize
    precision: Literal["float32", "bfloat16"]
    compile: bool


class Method(Target):
    name: str


class GaussianTrain(Group):
    name: Literal["gaussian"]
    epochs: PositiveInt
    learning_rate: PositiveFloat
    batch: PositiveInt
    start: str | None
    optimizer: Literal["adam", "sgd"]
    schedule: Literal["constant", "linear", "one_cycle"]


class CovarianceTrain(GaussianTrain):
    name: Literal["covariance"]  # pyright: ignore[reportIncompatibleVariableOverride]
    rounds: PositiveInt
    round_epochs: PositiveInt
    last_epochs: PositiveInt
    growth: float = Field(gt=1)
    keep: float = Field(gt=0, le=1)
    structure: Literal["auto", "full", "kronecker"]
    basis: Literal["learned", "dct", "pixel"]


class Certify(Group):
    samples: PositiveInt
    selection_samples: PositiveInt
    alpha: float = Field(gt=0, lt=1)
    bound: Literal["clopper_pearson", "randomized_clopper_pearson"]
    target_radius: PositiveFloat | None
    mode: Literal["per_input", "memory"]
    batch: PositiveInt | None
    workers: PositiveInt | None

    @model_validator(mode="after")
    def enough_samples(self) -> Self:
        if self.alpha ** (1 / self.samples) <= 0.5:
            needed = next(n for n in range(1, 10_000_000) if self.alpha ** (1 / n) > 0.5)
            raise ValueError(f"samples={self.samples} can certify nothing at alpha={self.alpha}: use at least {needed}")
        return self

    @model_validator(mode="after")
    def one_bound(self) -> Self:
        if self.target_radius is not None and self.bound != "clopper_pearson":
            raise ValueError(f"bound={self.bound} is not used with target_radius={self.target_radius}: leave one out")
        return self


class Audit(Group):
    inputs: PositiveInt | None
    samples: PositiveInt
    false_alarm: float = Field(gt=0, lt=1)
    outside: float = Field(gt=1)
    seed: NonNegativeInt


class Shard(Group):
    count: PositiveInt
    index: NonNegativeInt

    @model_validator(mode="after")
    def index_below_count(self) -> Self:
        if self.index >= self.count:
            raise ValueError(f"index={self.index} must be below count={self.count}")
        return self


class Settings(Group):
    """The whole configuration."""

    data: Data
    classifier: Classifier
    method: Method
    train: GaussianTrain | CovarianceTrain = Field(discriminator="name")
    certify: Certify
    audit: Audit
    sigma: PositiveFloat
    seed: NonNegativeInt
    device: str
    output_root: str
    shard: Shard
    runs: list[str]

    @model_validator(mode="after")
    def rotation_is_of_isotropic_training(self) -> Self:
        if self.data.rotation is not None and self.train.name != "gaussian":
            raise ValueError(f"data.rotation={self.data.rotation} needs train=gaussian, not {self.train.name}")
        return self

    @field_validator("device")
    @classmethod
    def known_device(cls, value: str) -> str:
        import torch

        if value == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        try:
            torch.empty(0, device=value)
        except (RuntimeError, AssertionError) as error:
            raise ValueError(f"no such device here ({error}): use auto or cpu") from error
        return value

    @property
    def given(self) -> dict[str, str]:
        """The file of weights that is given, by its key: a checkpoint is certified as it is, a start is trained."""
        checkpoint, start = self.classifier.checkpoint, self.train.start
        if checkpoint is not None:
            return {"classifier.checkpoint": checkpoint}
        return {} if start is None else {"train.start": start}

    @property
    def root(self) -> Path:
        return Path(self.output_root)

    def _identity(self, *groups: str) -> dict[str, Any]:
        """What a result depends on; a checkpoint counts by its content, not its name."""
        from rddrs.version import __version__

        values = self.model_dump(include={*groups, "data", "classifier", "train", "sigma", "seed"}, by_alias=True)
        del values["data"]["epochs"]
        for name in ("root", "file"):
            if name in values["data"]:
                values["data"][name] = self.data.content(values["data"][name])
        if self.data.rotation is None:
            del values["data"]["rotation"]
        checkpoint = self.classifier.checkpoint
        if checkpoint is not None:
            values["classifier"]["checkpoint"] = known_digest(Path(checkpoint))
            del values["train"]
        elif self.train.start is not None:
            values["train"]["start"] = known_digest(Path(self.train.start))
        for name in ("workers",):
            values.get("certify", {}).pop(name, None)
        return values | {"device": self.device.split(":")[0], "version": __version__}

    def _key(self, name: str, identity: dict[str, Any]) -> str:
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:10]
        return f"{self.data.name}-{name}-sigma{self.sigma:g}-seed{self.seed}-{digest}"

    @property
    def classifier_folder(self) -> Path:
        """Where the classifier of this configuration lies: shared by all methods, subsets and certifications."""
        identity = self._identity()
        for name in ("subset", "reference"):
            del identity["data"][name]
        network = self.classifier.target.rpartition(".")[2].lower()
        return self.root / "classifiers" / self._key(network, identity)

    @property
    def run_folder(self) -> Path:
        """Where the records of this configuration lie."""
        return self.root / "runs" / self._key(self.method.name, self._identity("method", "certify"))


def load(configuration: DictConfig) -> Settings:
    """The checked settings of a composed configuration; raises SettingsError."""
    try:
        values = OmegaConf.to_container(configuration, resolve=True, throw_on_missing=True)
        return Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(explain(error)) from None
    except OmegaConfBaseException as error:
        raise SettingsError(str(error)) from None


def explain(error: ValidationError, prefix: str = "") -> str:
    """One line for each thing that is wrong: the key, the value, what would be right."""
    lines = []
    for item in error.errors():
        place = list(item["loc"])
        if place[:1] == ["train"]:
            del place[1:2]  # which of the kinds of training it is
        key = ".".join([*filter(None, [prefix]), *map(str, place)])
        if item["type"] == "extra_forbidden":
            lines.append(f"{key}: there is no such key")
        elif item["type"] == "value_error":
            lines.append(f"{key}: {item.get('ctx', {}).get('error')}")
        else:
            lines.append(f"{key}={item['input']}: {item['msg']}")
    return "\n".join(lines)
