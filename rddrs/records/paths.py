"""What is kept of a path: in the file of its input, and as columns of its record."""

import json
from dataclasses import asdict
from typing import Any

import numpy as np

from rddrs.certification import Cell, Certificate, PathCertificate, PathTerms
from rddrs.certification.paths import feared

_KEPT = (
    *("prediction", "low", "high", "asked", "selection_counts", "alpha", "slack", "clamp", "rounding"),
    *("test_samples", "selection_samples", "seed", "batch"),
)
PREFIX = "path_"


def path_kept(path: PathCertificate) -> dict[str, Any]:
    """What a file keeps of a path beside its input and scale, for JSON."""
    return {name: getattr(path, name) for name in _KEPT} | {"cells": [[*asdict(cell).values()] for cell in path.cells]}


def path_rebuilt(values: dict[str, Any], certificate: Certificate, terms: PathTerms) -> PathCertificate:
    """The path of which `path_kept` gave the values, of the input, scale and noise of a certificate."""
    cells = tuple(Cell(*map(_frozen, row)) for row in values["cells"])
    arguments: dict[str, Any] = {name: _frozen(values[name]) for name in _KEPT} | {"cells": cells}
    it = certificate
    return PathCertificate(
        x=it.x,
        scale=it.scale,
        perturbations=feared(terms.perturbation),
        index=it.index,
        norm=it.norm,
        grid=it.grid,
        **arguments,
    )


def path_columns(path: PathCertificate) -> dict[str, Any]:
    """`path_NAME_low` and `_high`, the certified ends; of a box `_share`, that of its sides that is certified.

    With them what was `_asked`, as JSON, the `_prediction`, whether it is `_complete`, and the `_samples`.
    """
    low, high = path.low, path.high
    if isinstance(high, tuple) and isinstance(low, tuple):
        ends = np.abs([*low, *high]), np.abs(np.ravel(path.asked))
        found = {"share": float(min(reached / asked for reached, asked in zip(*ends, strict=True) if asked))}
    else:
        found = {"low": low, "high": high}
    found |= {"asked": json.dumps(path.asked), "prediction": path.prediction, "complete": path.complete}
    return {f"{PREFIX}{path.name}_{name}": value for name, value in (found | {"samples": path.samples}).items()}


def _frozen(value: Any) -> Any:
    """A value of JSON with tuples for its lists."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
