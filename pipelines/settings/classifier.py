"""The settings of the network: what it is, where its weights come from, and what is around it."""

from pathlib import Path
from typing import Literal, Self

from pydantic import PositiveInt, model_validator

from pipelines.settings.groups import Group, Target
from rddrs.models import Output, Precision, Runtime, weights_file


class Normalize(Group):
    mean: list[float] | None
    std: list[float] | None

    @model_validator(mode="after")
    def both_or_none(self) -> Self:
        if (self.mean is None) != (self.std is None):
            raise ValueError(f"mean={self.mean} std={self.std}: give both, one number a channel, or none")
        return self


class Classifier(Target):
    output: Output
    checkpoint: str | None
    state: str | None = None
    weights: Literal["own"] | None = None
    pretrained: str | None
    file: str | None = None
    epochs: PositiveInt
    normalize: Normalize
    precision: Literal[Precision, "int8"]
    runtime: Runtime = "torch"
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

    @model_validator(mode="after")
    def one_runtime(self) -> Self:
        if self.runtime == "torch" and self.precision == "int8":
            raise ValueError("precision=int8 is not run by runtime=torch: give runtime=onnxruntime or openvino")
        if self.runtime != "torch" and (self.precision in ("bfloat16", "float16") or self.compile):
            given = f"precision={self.precision}, compile={str(self.compile).lower()}"
            raise ValueError(f"runtime={self.runtime} runs float32 and int8, not compiled: leave {given} out")
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
        return weights_file(self.pretrained)
