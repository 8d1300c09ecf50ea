"""What every part of the configuration is: named fields of a kind and a range, and importable objects."""

from typing import Any

from pydantic import ConfigDict, Field, model_validator

from rddrs.options import Options

NAME = r"^[\w.+-]+$"
"""Names are parts of those of folders."""

TARGET = "_target_"


class Group(Options):
    """A part of the configuration."""

    model_config = ConfigDict(populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def whole(cls, values: Any) -> Any:
        """1e5 is a whole number where one is needed."""
        if not isinstance(values, dict):
            return values
        counts = {name for name, field in cls.model_fields.items() if "int" in str(field.annotation)}
        return {
            name: int(given) if name in counts and isinstance(given, float) and given.is_integer() else given
            for name, given in values.items()
        }


class Target(Group):
    """A part that names an importable object; keys that are not fields are that object's arguments."""

    model_config = ConfigDict(extra="allow")
    target: str = Field(alias=TARGET)

    @property
    def arguments(self) -> dict[str, Any]:
        return dict(self.model_extra or {})

    @property
    def every(self) -> list[str]:
        """The dotted names of the object and of those that its arguments name."""
        nested = [Target.model_validate(it) for it in self.arguments.values() if isinstance(it, dict) and TARGET in it]
        return [self.target, *(name for each in nested for name in each.every)]
