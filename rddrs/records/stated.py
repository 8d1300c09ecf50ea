"""Where what is shown is not what follows from what was proved; what is unknown is a difference, too."""

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from io import StringIO
from typing import Any

import pandas as pd
import yaml

MISSING = "nothing"
_YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_json(text: str) -> Any:
    """What a text of JSON states; raises ValueError where it states something twice, of which a person reads either."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
            raise ValueError(f"it states {', '.join(twice)} more than once")
        return found

    return json.loads(text, object_pairs_hook=once)


@lru_cache(maxsize=256)
def configuration_in(text: str) -> Mapping[str, Any]:
    """What the text of a `config.yaml` states; empty where it states nothing. It is read once: change nothing in it."""
    return yaml.load(text, _YAML) or {}


@dataclass(frozen=True)
class Difference:
    """One value of one file that is not the one that follows; `input` is None where it is of all inputs."""

    file: str
    input: int | None
    column: str
    stated: Any
    expected: Any

    def __str__(self) -> str:
        place = "" if self.input is None else f"input {self.input}, "
        return f"{self.file}: {place}{self.column}: states {self.stated}, not {self.expected}"


def same(stated: Any, expected: Any) -> bool:
    """Whether two values are equal: numbers up to the last digits, which another machine may round otherwise."""
    if isinstance(stated, dict | list) or isinstance(expected, dict | list):
        return stated == expected
    try:
        if isinstance(stated, str) or isinstance(expected, str):
            return stated == expected
        first, second = float(stated), float(expected)
    except (TypeError, ValueError):  # None, lists ...
        return stated == expected
    return math.isclose(first, second, rel_tol=1e-9, abs_tol=1e-12) or (math.isnan(first) and math.isnan(second))


def differences(
    file: str, stated: Mapping[str, Any], expected: Mapping[str, Any], number: int | None = None
) -> list[Difference]:
    """The values of one row that differ from those that follow, and the names that only one of them has."""
    pairs = {name: (stated.get(name, MISSING), expected.get(name, MISSING)) for name in {**expected, **stated}}
    return [Difference(file, number, name, *pair) for name, pair in pairs.items() if not same(*pair)]


def table_differences(file: str, stated: pd.DataFrame, expected: pd.DataFrame, key: str = "index") -> list[Difference]:
    """The values of a table that differ from those that follow, and the columns and rows that do.

    `key` names the column that tells the rows apart: the input's index, else it stands before the column's name.
    """
    odd = stated.columns.symmetric_difference(expected.columns, sort=False)
    if len(odd):
        pairs = {name: ("a column", MISSING) if name in stated else (MISSING, "a column") for name in odd}
        return [Difference(file, None, str(name), *pair) for name, pair in pairs.items()]
    if len(expected) and stated[key].tolist() != expected[key].tolist():
        return [Difference(file, None, key, stated[key].tolist(), expected[key].tolist())]
    found = []
    for left, right in zip(stated.to_dict("records"), expected.to_dict("records"), strict=True):
        number, place = (right[key], "") if key == "index" else (None, f"{right[key]} ")
        first, second = ({f"{place}{name}": value for name, value in row.items()} for row in (left, right))
        found += differences(file, first, second, number)
    return found


def as_read(table: pd.DataFrame) -> pd.DataFrame:
    """A table as it is read from the file that it is written to."""
    return pd.read_csv(StringIO(table.to_csv(index=False))) if len(table.columns) else table


def reading_differences(file: str, check: Callable[[], list[Difference]]) -> list[Difference]:
    """What a check of a file finds; where the file cannot be read, that."""
    try:
        return check()
    except (OSError, ValueError, TypeError, AttributeError, LookupError, yaml.YAMLError) as error:
        return [Difference(file, None, "file", f"{type(error).__name__}: {error}", "one that can be read")]


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by their dotted names."""
    found = {}
    for name, value in values.items():
        nested = isinstance(value, Mapping) and value
        found |= flattened(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return found
