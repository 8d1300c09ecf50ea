"""What certificates mean for a person: certified severities of named perturbations (METHOD sections 4.5, 13)."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from rddrs.records.record import is_tested, measured, severity_column
from rddrs.threats import PERTURBATIONS

_UNITS = {each.name: each.unit for each in PERTURBATIONS}


def unit_of(name: str) -> str:
    """The unit of a named perturbation's severity; empty for one of a user's own."""
    return _UNITS.get(name, "")


def told_name(name: str, tables: Iterable[pd.DataFrame]) -> str:
    """The perturbation as a row of a table is named: that it was only tested is said where it was, of any records."""
    return name.replace("_", " ") + (", tested" if any(is_tested(records, name) for records in tables) else "")


def mean_severities(records: pd.DataFrame) -> dict[str, float]:
    """The mean certified severity of every perturbation that the records hold, 0 where the prediction is wrong.

    It is that of both signs, where a perturbation has them.
    """
    correct = records["correct"].to_numpy(float)
    return {
        name: float(np.mean(records[severity_column(name)].to_numpy(float) * correct)) for name in measured(records)
    }
