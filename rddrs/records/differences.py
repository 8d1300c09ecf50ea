"""Where what is shown is not what follows from what was proved."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

MISSING = "nothing"


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
    if isinstance(stated, str) or isinstance(expected, str) or stated is None or expected is None:
        return stated == expected
    first, second = float(stated), float(expected)
    return math.isclose(first, second, rel_tol=1e-9, abs_tol=1e-12) or (math.isnan(first) and math.isnan(second))


def differences(
    file: str, stated: Mapping[str, Any], expected: Mapping[str, Any], number: int | None = None
) -> list[Difference]:
    """The values of one row that differ from those that follow."""
    pairs = {name: (stated.get(name, MISSING), value) for name, value in expected.items()}
    return [Difference(file, number, name, *pair) for name, pair in pairs.items() if not same(*pair)]


def table_differences(file: str, stated: pd.DataFrame, expected: pd.DataFrame) -> list[Difference]:
    """The values of a table of records that differ from those that follow, and the columns and rows that do."""
    for name in ("index", *stated.columns.symmetric_difference(expected.columns)):
        if name not in stated or name not in expected:
            pair = ("a column", MISSING) if name in stated else (MISSING, "a column")
            return [Difference(file, None, name, *pair)]
    rows = [{row["index"]: row for row in table.to_dict("records")} for table in (stated, expected)]
    if stated["index"].tolist() != expected["index"].tolist():
        return [Difference(file, None, "index", stated["index"].tolist(), expected["index"].tolist())]
    return [found for index in rows[1] for found in differences(file, rows[0][index], rows[1][index], index)]
