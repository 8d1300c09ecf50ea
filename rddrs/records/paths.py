"""What is kept of a path in the file of its input."""

from dataclasses import asdict
from typing import Any

from rddrs.certification import Cell, Certificate, PathCertificate, PathTerms
from rddrs.certification.certify import are_counts
from rddrs.certification.paths import feared
from rddrs.options import check_values

_KEPT = (
    *("prediction", "low", "high", "asked", "selection_counts", "status", "alpha", "slack", "clamp", "rounding"),
    *("unrounded", "regions", "rules", "test_samples", "budget", "needed", "selection_samples", "seed", "batch"),
)


def path_kept(path: PathCertificate) -> dict[str, Any]:
    """What a file keeps of a path beside its input and scale, for JSON."""
    return {name: getattr(path, name) for name in _KEPT} | {"cells": [[*asdict(cell).values()] for cell in path.cells]}


def path_rebuilt(values: dict[str, Any], certificate: Certificate, terms: PathTerms) -> PathCertificate:
    """The path of which `path_kept` gave the values, of the input, scale and noise of a certificate."""
    rules = 2 if values.get("centred") else 1  # in files up to 0.20.0
    later = {"needed": 0, "unrounded": True, "regions": True, "rules": rules}  # since 0.11.0, 0.19.0 and 0.21.0
    values = later | values
    if not are_counts([row[-2] for row in values["cells"]]):  # `Cell.samples`
        raise ValueError("the draws of its tests are no whole numbers")
    cells = tuple(Cell(*map(_frozen, row)) for row in values["cells"])
    arguments: dict[str, Any] = {name: _frozen(values[name]) for name in _KEPT} | {"cells": cells}
    arguments |= {name: getattr(certificate, name) for name in ("x", "scale", "index", "norm", "grid")}
    arguments["perturbations"] = feared(terms.perturbation)
    check_values(PathCertificate, arguments)
    return PathCertificate(**arguments)


def _frozen(value: Any) -> Any:
    """A value of JSON with tuples for its lists."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
