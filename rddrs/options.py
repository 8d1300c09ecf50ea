"""Options are checked where they are declared, by their annotations: one sentence says what is wrong with each."""

import re
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import Any, get_type_hints

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

_NUMBER = re.compile(r"[-+]?[\d.]+(e[-+]?\d+)?", re.IGNORECASE)
"""A text that would be read as a number: what is wrong with it is seen by its quotes alone."""


class Options(BaseModel):
    """Options that are checked when they are made, and do not change."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def check(options: Any) -> None:
    """Raises ValueError, a line for each field of the dataclass that is not of its annotation's kind and range."""
    check_values(type(options), {each.name: getattr(options, each.name) for each in fields(options)})


def check_values(kind: type, values: Mapping[str, Any]) -> None:
    """The same of the values that a dataclass of this kind would be made of."""
    try:
        plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()}
        _model(kind).model_validate(plain)
    except ValidationError as error:
        raise ValueError("\n".join(sentence(it) for it in error.errors())) from None


def check_whole(least: int | None = 1, **values: Any) -> None:
    """Raises ValueError, which names it, for a value that is no whole number, or is below the `least`."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise ValueError(f"{name} must be a whole number, not {value!r}")
        if least is not None and value < least:
            raise ValueError(f"{name} must be at least {least}, not {value}")


def sentence(wrong: Any, prefix: str = "") -> str:
    """What is wrong with one field, an item of `ValidationError.errors()`: its name, the value, what would be right."""
    names = [*filter(None, [prefix]), *map(str, wrong["loc"])]
    name = ".".join(names)
    if wrong["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{name}: there is no such key"
    if wrong["type"] == "missing":
        return f"{name}: this key is needed"
    if wrong["type"] == "value_error":
        reason = str(wrong["ctx"]["error"])
        if not names or reason.startswith(f"{names[-1]}="):  # it names itself
            return ".".join([*names[:-1], reason])
        return f"{name}: {reason}"
    given = wrong["input"]
    return f"{name}={repr(given) if isinstance(given, str) and _NUMBER.fullmatch(given) else given}: {wrong['msg']}"


@cache
def _model(kind: type) -> type[BaseModel]:
    hints: dict[str, Any] = {name: (hint, ...) for name, hint in get_type_hints(kind, include_extras=True).items()}
    config = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
    return create_model(kind.__name__, __config__=config, **hints)
