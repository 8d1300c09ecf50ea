"""The settings of training: the library's own options, what is minimised, from what and on what."""

from typing import Annotated, Any

from pydantic import Discriminator, PositiveFloat, PositiveInt, Tag, field_validator, model_serializer, model_validator

from pipelines.settings.groups import Group, Target
from rddrs.training.objectives import OBJECTIVES
from rddrs.training.options import CotrainingOptions, TrainingOptions

TARGETS = {name: f"{kind.__module__.rpartition('.')[0]}.{kind.__name__}" for name, kind in OBJECTIVES.items()}
"""The objectives of the project, by the names that stand for them."""


class Objective(Target):
    """What training minimises: any importable objective; those of the project have a `name` instead."""

    @model_validator(mode="before")
    @classmethod
    def of_name(cls, value: Any) -> Any:
        """A name, alone or with constants beside it, stands for the objective; a dotted one is its `_target_`."""
        value = {"name": value} if isinstance(value, str) else value
        if not isinstance(value, dict) or "name" not in value:
            return value
        name = str(value["name"])
        target = TARGETS.get(name, name)
        if value.get("_target_", target) != target:
            raise ValueError(f"name={name} _target_={value['_target_']}: leave one of them out")
        if "." in target:
            return {"_target_": target} | {key: constant for key, constant in value.items() if key != "name"}
        raise ValueError(f"{name} is none of {', '.join(TARGETS)}, and nothing that can be imported")

    @model_serializer
    def with_name(self) -> dict[str, Any]:
        return {"name" if self.name in TARGETS else "_target_": self.name, **self.arguments}

    @property
    def name(self) -> str:
        """That of an objective of the project, the `_target_` of any other."""
        return next((name for name, target in TARGETS.items() if target == self.target), self.target)


class Train(Group, TrainingOptions):
    """What every training has."""

    name: str
    objective: Objective
    epochs: PositiveInt
    start: str | None
    threads: PositiveInt
    augment: dict[str, PositiveFloat]

    @field_validator("augment", mode="before")
    @classmethod
    def none_is_empty(cls, value: Any) -> Any:
        return {} if value is None else value

    @property
    def isotropic(self) -> "IsotropicTrain":
        """What comes before the rounds of a co-training: the objective alone."""
        shared = {name: getattr(self, name) for name in Train.model_fields}
        return IsotropicTrain.model_validate(shared | {"name": self.objective.name})


class IsotropicTrain(Train):
    """Under sigma times the noise of the norm."""

    @model_validator(mode="after")
    def one_objective(self) -> "IsotropicTrain":
        if self.name in TARGETS and self.objective.name != self.name:
            raise ValueError(f"objective={self.objective.name}: train={self.name} has its own: train=own takes any")
        return self


class CovarianceTrain(Train, CotrainingOptions):
    """Under one C for all inputs, which grows with the network."""

    @property
    def as_long(self) -> IsotropicTrain:
        """Training under isotropic noise for all the epochs, rounds included."""
        epochs = self.epochs + (self.rounds - 1) * self.round_epochs + self.last_epochs
        return self.isotropic.model_copy(update={"epochs": epochs})


def _kind(train: Any) -> str:
    name = train.get("name") if isinstance(train, dict) else getattr(train, "name", None)
    return "covariance" if name == "covariance" else "isotropic"


AnyTrain = Annotated[
    Annotated[IsotropicTrain, Tag("isotropic")] | Annotated[CovarianceTrain, Tag("covariance")], Discriminator(_kind)
]
