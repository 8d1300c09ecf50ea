"""The settings: the kinds and ranges of every key, and what follows from them."""

import math
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)


class Group(BaseModel):
    """A part of the configuration."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def whole(cls, values: Any) -> Any:
        """1e5 is a whole number where one is needed."""
        if not isinstance(values, dict):
            return values
        kinds = {name: str(field.annotation) for name, field in cls.model_fields.items()}
        return {
            name: int(it) if isinstance(it, float) and it.is_integer() and "int" in kinds.get(name, "") else it
            for name, it in values.items()
        }


class Target(Group):
    """A part that names an importable object; keys that are not fields are that object's arguments."""

    model_config = ConfigDict(extra="allow")
    target: str = Field(alias="_target_")

    @property
    def arguments(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


NAME = r"^[\w.+-]+$"
"""Names are parts of those of folders."""


class Data(Target):
    name: str = Field(pattern=NAME)
    epochs: PositiveInt
    flip: bool
    subset: PositiveInt | None

    @field_validator("subset", mode="before")
    @classmethod
    def everything(cls, value: Any) -> Any:
        return None if value == "all" else value

    reference: PositiveInt
    rotation: NonNegativeInt | None


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
    state: str | None = None
    weights: Literal["own"] | None = None
    pretrained: str | None
    file: str | None = None
    epochs: PositiveInt
    normalize: Normalize
    precision: Literal["float32", "bfloat16"]
    compile: bool
    threads: PositiveInt

    @model_validator(mode="after")
    def one_network(self) -> Self:
        ways = {name: getattr(self, name) for name in ("pretrained", "checkpoint", "weights", "file")}
        given = [f"{name}={value}" for name, value in ways.items() if value is not None]
        if len(given) > 1:
            raise ValueError(f"{' '.join(given)}: leave all but one of them out")
        if self.file is not None and (self.precision != "float32" or self.compile):
            raise ValueError(f"file={self.file}: it is certified as it is: leave precision and compile out")
        return self

    @property
    def as_it_is(self) -> bool:
        """Whether the network has its weights, from a file or of its own, and is certified with them."""
        return self.weights == "own" or self.given_file is not None

    @property
    def given_file(self) -> Path | None:
        """The file of the weights that are given, to be certified as they are."""
        if self.pretrained is None:
            given = self.file or self.checkpoint
            return None if given is None else Path(given)
        from rddrs.models import weights_file

        return weights_file(self.pretrained)


class Method(Target):
    name: str = Field(pattern=NAME)


class Training(Group):
    name: str
    objective: dict[str, Any]
    epochs: PositiveInt
    learning_rate: PositiveFloat
    batch: PositiveInt
    start: str | None
    optimizer: Literal["adam", "sgd"]
    schedule: Literal["constant", "linear", "step", "one_cycle"]
    precision: Literal["float32", "bfloat16"]
    threads: PositiveInt
    augment: dict[str, PositiveFloat]

    @field_validator("augment", mode="before")
    @classmethod
    def none_is_empty(cls, value: Any) -> Any:
        return {} if value is None else value

    @field_validator("objective", mode="before")
    @classmethod
    def named(cls, value: Any) -> Any:
        """A name stands for the objective with its defaults."""
        return {"name": value} if isinstance(value, str) else value

    @property
    def isotropic(self) -> "IsotropicTrain":
        """What comes before the rounds of a co-training: the objective alone."""
        shared = self.model_dump(include=set(Training.model_fields) - {"name"})
        return IsotropicTrain(name=self.objective["name"], **shared)


class IsotropicTrain(Training):
    name: Literal["gaussian", "consistency", "smoothadv", "macer"]  # pyright: ignore[reportIncompatibleVariableOverride]

    @model_validator(mode="after")
    def one_objective(self) -> Self:
        if self.objective.get("name") != self.name:
            raise ValueError(
                f"objective.name={self.objective.get('name')}: train={self.name} has its own: leave it out"
            )
        return self


class CovarianceTrain(Training):
    name: Literal["covariance"]  # pyright: ignore[reportIncompatibleVariableOverride]
    rounds: PositiveInt
    round_epochs: PositiveInt
    last_epochs: PositiveInt
    growth: float = Field(gt=1)
    keep: float = Field(gt=0, le=1)
    structure: Literal["auto", "full", "kronecker"]
    basis: Literal["learned", "dct", "pixel"]

    @property
    def as_long(self) -> IsotropicTrain:
        """Training under isotropic noise for all the epochs, rounds included."""
        epochs = self.epochs + (self.rounds - 1) * self.round_epochs + self.last_epochs
        return self.isotropic.model_copy(update={"epochs": epochs})


class Certify(Group):
    samples: PositiveInt
    selection_samples: PositiveInt
    alpha: float = Field(gt=0, lt=1)
    bound: Literal["clopper_pearson", "randomized_clopper_pearson"]
    target_radius: PositiveFloat | None
    norm: Literal["l2", "l1"]
    grid: float | Literal["auto"] | None
    clamp: tuple[float, float] | Literal["auto"] | None
    rounding: float | Literal["auto"] | None
    paths: dict[str, float | list[float]]
    path_samples: PositiveInt
    path_slack: NonNegativeFloat
    mode: Literal["per_input", "memory"]
    batch: PositiveInt | None
    workers: PositiveInt | None

    @field_validator("grid", "rounding", mode="plain")
    @classmethod
    def step(cls, value: Any) -> Any:
        """A step may be a fraction, 1/255."""
        if value is None or value == "auto":
            return value
        above, _, below = str(value).partition("/")
        with suppress(ValueError, ZeroDivisionError):
            if 0 < (step := float(above) / float(below or 1)) < math.inf:
                return step
        raise ValueError(f"{value} is no step: auto, null or a positive number such as 1/255 is needed")

    @field_validator("paths", mode="before")
    @classmethod
    def none_is_empty(cls, value: Any) -> Any:
        return {} if value is None else value

    @field_validator("clamp", mode="plain")
    @classmethod
    def range_of_values(cls, value: Any) -> Any:
        """A list of two numbers, the smaller first."""
        if value is None or value == "auto":
            return value
        with suppress(ValueError, TypeError):
            low, high = map(float, value)
            if -math.inf < low < high < math.inf:
                return low, high
        raise ValueError(f"{value} is no range of values: auto, null or two numbers such as [0, 1] are needed")

    @model_validator(mode="after")
    def enough_samples(self) -> Self:
        if self.alpha ** (1 / self.samples) <= 0.5:
            needed = math.floor(-math.log2(self.alpha)) + 1
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
    tolerance: NonNegativeInt
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
    train: IsotropicTrain | CovarianceTrain = Field(discriminator="name")
    certify: Certify
    audit: Audit
    sigma: PositiveFloat
    threat: dict[str, NonNegativeFloat]
    threat_at: dict[str, PositiveFloat]
    seed: NonNegativeInt
    device: str
    output_root: str
    shard: Shard
    runs: list[str]
    logs: list[str] = []
    run: str | None

    @field_validator("threat", "threat_at", mode="before")
    @classmethod
    def by_name(cls, value: Any) -> Any:
        """Perturbations by name with their weights, or severities: each 1 in a list; none where it is null."""
        value = [value] if isinstance(value, str) else value
        return dict.fromkeys(value, 1.0) if isinstance(value, list) else {} if value is None else value

    @model_validator(mode="after")
    def rotation_is_of_isotropic_training(self) -> Self:
        if self.data.rotation is not None and self.train.name == "covariance":
            raise ValueError(f"data.rotation={self.data.rotation} needs isotropic training, not train=covariance")
        return self

    @model_validator(mode="after")
    def one_source_of_weights(self) -> Self:
        if self.train.start is not None and self.classifier.weights == "own":
            raise ValueError(f"train.start={self.train.start} classifier.weights=own: leave one of them out")
        if self.classifier.state is not None and not self.given:
            raise ValueError(f"classifier.state={self.classifier.state} is of a classifier.checkpoint or a train.start")
        return self

    @field_validator("runs", mode="before")
    @classmethod
    def one_run(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("device")
    @classmethod
    def known_device(cls, value: str) -> str:
        import torch

        value = "cuda" if value == "gpu" else value
        if value == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        try:
            torch.empty(0, device=value)
        except (RuntimeError, AssertionError) as error:
            raise ValueError(f"no such device here ({error}): use auto or cpu") from error
        return value

    @property
    def given(self) -> dict[str, Path]:
        """The file of weights that is given, by its key: a checkpoint is certified as it is, a start is trained."""
        weights, start = self.classifier.given_file, self.train.start
        if weights is not None:
            own = "pretrained" if self.classifier.pretrained else "file" if self.classifier.file else "checkpoint"
            return {f"classifier.{own}": weights}
        return {} if start is None else {"train.start": Path(start)}

    @property
    def root(self) -> Path:
        return Path(self.output_root)

    @property
    def configuration(self) -> dict[str, Any]:
        """What a result depends on, beside the threat, contents (data, given weights), code and device."""
        values = self.model_dump(include={"classifier", "method", "train", "certify", "sigma", "seed"}, by_alias=True)
        del values["classifier"]["checkpoint"], values["classifier"]["file"]
        del values["train"]["start"], values["certify"]["workers"]
        for name in ("state", "weights"):  # of a file, which is known by its content, and of later versions
            if values["classifier"][name] is None or self.classifier.as_it_is:
                del values["classifier"][name]
        return values | {"data": self.data.model_dump(include={"name", "flip", "subset", "reference", "rotation"})}
