"""The whole configuration, and what follows from it."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from pipelines.importing import imported
from pipelines.settings.certification import Certify
from pipelines.settings.classifier import Classifier
from pipelines.settings.groups import NAME, Group, Target
from pipelines.settings.training import AnyTrain


class Data(Target):
    name: str = Field(pattern=NAME)
    epochs: PositiveInt
    flip: bool
    crop: NonNegativeInt = 0  # since 0.12.0: runs before it say nothing of it
    subset: PositiveInt | None

    @field_validator("subset", mode="before")
    @classmethod
    def everything(cls, value: Any) -> Any:
        return None if value == "all" else value

    reference: PositiveInt
    rotation: NonNegativeInt | None

    @property
    def training(self) -> dict[str, Any]:
        """What of it decides the weights of a network, beside what its inputs are."""
        return self.model_dump(include={"rotation", "flip"}) | ({"crop": self.crop} if self.crop else {})


class MethodChoice(Target):
    name: str = Field(pattern=NAME)

    @model_validator(mode="after")
    def rs_is_rs(self) -> Self:
        """What others are compared with is told by this name."""
        if self.name == "rs" and self.target.rpartition(".")[2] != "RS":
            raise ValueError(f"name=rs _target_={self.target}: rs is rddrs.RS: give another method another name")
        return self


class Audit(Group):
    inputs: int | Literal["auto"] | None
    samples: PositiveInt
    false_alarm: float = Field(gt=0, lt=1)
    outside: float = Field(gt=1)
    tolerance: NonNegativeInt
    seed: NonNegativeInt

    @field_validator("inputs", mode="before")
    @classmethod
    def a_count(cls, value: Any) -> Any:
        if value not in (None, "auto") and not (type(value) is int and value > 0):
            raise ValueError(f"{value} is no number of inputs: auto, null or a whole number from 1 is needed")
        return value


class Shard(Group):
    count: PositiveInt
    index: NonNegativeInt

    @model_validator(mode="after")
    def index_below_count(self) -> Self:
        if self.index >= self.count:
            raise ValueError(f"index={self.index} must be below count={self.count}")
        return self


LATER = {
    "data.crop": 0,
    "classifier.runtime": "torch",
    "classifier.state": None,
    "classifier.weights": None,
    "certify.path_budget": None,
    "certify.path_unrounded": True,
    "certify.path_regions": True,
}
"""Keys that earlier versions had not, and what they mean where nothing is said of them."""


class Settings(Group):
    """The whole configuration."""

    data: Data
    classifier: Classifier
    method: MethodChoice
    train: AnyTrain
    certify: Certify
    audit: Audit
    sigma: PositiveFloat
    threat: dict[str, NonNegativeFloat]
    threat_at: dict[str, PositiveFloat]
    seed: Annotated[NonNegativeInt, Field(lt=1 << 63)]  # what torch takes
    device: str
    output_root: str
    shard: Shard
    runs: list[str]
    logs: list[str] = Field(default=[])
    figures: list[str] = Field(default=[])
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

    @model_validator(mode="after")
    def runtime_is_of_the_cpu(self) -> Self:
        runtime, rotation = self.classifier.runtime, self.data.rotation
        if runtime != "torch" and self.device != "cpu":
            raise ValueError(f"device={self.device}: classifier.runtime={runtime} runs on the CPU: give device=cpu")
        if runtime != "torch" and self.classifier.file is None and rotation is not None:
            raise ValueError(f"data.rotation={rotation} needs classifier.runtime=torch, not {runtime}")
        return self

    @model_validator(mode="after")
    def card_has_the_precision(self) -> Self:
        bfloat16 = self.classifier.precision == "bfloat16" and self.device.startswith("cuda")
        if bfloat16 and not torch.cuda.is_bf16_supported(including_emulation=False):
            raise ValueError("classifier.precision=bfloat16: this card has none: give float16")
        return self

    @field_validator("figures")
    @classmethod
    def importable(cls, names: list[str]) -> list[str]:
        for name in names:
            if not callable(imported(name)):
                raise ValueError(f"{name} is no function of a run")
        if len({name.rpartition(".")[2] for name in names}) < len(names):
            raise ValueError(f"{', '.join(names)}: each needs a name of its own after the last dot")
        return names

    @field_validator("runs", "figures", mode="before")
    @classmethod
    def one_of_them(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("device")
    @classmethod
    def known_device(cls, value: str) -> str:
        value = "cuda" if value == "gpu" else value
        if value == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        try:
            torch.zeros(1, device=value).item()
        except (RuntimeError, AssertionError) as error:
            told = str(error).partition("\n")[0]
            raise ValueError(f"device={value}: no such device here ({told}): use auto or cpu") from error
        try:
            torch.ones(1, dtype=torch.float64, device=value).add_(1)
        except (RuntimeError, TypeError) as error:  # Apple's, and some of Intel's
            raise ValueError(
                f"device={value} has no float64, in which C, regions and severities are computed: use device=cpu (in "
                f"Python, rddrs.certify with Isotropic runs there) ({error})"
            ) from error
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
    def identity(self) -> dict[str, Any]:
        """What a result depends on, beside the threat, contents (data, given weights), code and device."""
        values = self.model_dump(include={"classifier", "method", "train", "certify", "sigma", "seed"}, by_alias=True)
        del values["classifier"]["checkpoint"], values["classifier"]["file"]
        del values["train"]["start"], values["certify"]["workers"]
        if self.classifier.as_it_is:  # known by its content
            values["classifier"] |= {"state": None, "weights": None}
        values["data"] = self.data.model_dump(include={"name", "subset", "reference"}) | self.data.training
        for key, before in LATER.items():
            group, name = key.split(".")
            if values[group].get(name, ...) == before:
                del values[group][name]
        return values
