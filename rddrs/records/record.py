"""The record of an input: the columns of the table of records, what they follow from, and who doubts them.

The values that follow are made here, of a certificate, a fidelity, a severity, a path; `rddrs audit` makes them again.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypedDict, get_type_hints

import numpy as np
import pandas as pd

from rddrs.certification import Certificate, PathCertificate, Severity, certified_severities
from rddrs.records.inventory import MEASURED, PROPOSED, REBUILT, UNKNOWN
from rddrs.smoothing import Fidelity, Reference
from rddrs.threats import ENDS, PERTURBATIONS, Perturbation
from rddrs.trust import Outcome, contradictions

ALWAYS, CURVE = "in every record", "a curve of MLflow over the input's index; all others are in the tables alone"


class Record(TypedDict, total=False):
    """A row of the table of records; beside these columns it has those of severities and of paths.

    Unless it is said how an audit knows a column, it follows from the certificate, the data and the settings.
    """

    index: Annotated[int, ALWAYS]
    label: Annotated[int, ALWAYS]
    prediction: Annotated[int, ALWAYS]  # -1: an abstention, with radii of 0
    correct: Annotated[bool, ALWAYS]
    p_lower: Annotated[float, ALWAYS]
    radius: Annotated[float, ALWAYS, CURVE]
    proxy_radius: Annotated[float, ALWAYS, CURVE]
    ball_radius: Annotated[float, ALWAYS, CURVE]
    log_volume: Annotated[float, ALWAYS]
    scale_min: Annotated[float, ALWAYS]
    scale_max: Annotated[float, ALWAYS]
    log_det: Annotated[float, ALWAYS]
    sigma_x: Annotated[float | None, ALWAYS, PROPOSED]
    fidelity: Annotated[float, ALWAYS, CURVE, MEASURED]
    contradictions: Annotated[int, ALWAYS]
    status: Annotated[str, ALWAYS, PROPOSED]
    optimize_seconds: Annotated[float, ALWAYS, UNKNOWN]
    certify_seconds: Annotated[float, ALWAYS, UNKNOWN]
    iterations: Annotated[int, PROPOSED]
    fidelity_low: Annotated[float, MEASURED]  # of the 95 % interval, as fidelity_high
    fidelity_high: Annotated[float, MEASURED]
    baseline: Annotated[str, REBUILT]  # what fidelity is relative to
    preferred_class: Annotated[int, MEASURED]
    preferred_share: Annotated[float, MEASURED]
    decision: str  # with a target radius, as the samples that it took
    samples: int
    norm: str
    grid: float
    batch: int
    seed: int
    mode: str
    paths_of: str  # whose classifier the paths are of
    raw_radius: float  # before the memory, as raw_prediction
    raw_prediction: int
    memory: str  # why it changed the certificate


_NOTES = {name: getattr(kind, "__metadata__", ()) for name, kind in get_type_hints(Record, include_extras=True).items()}

COLUMNS = [name for name, notes in _NOTES.items() if ALWAYS in notes]
"""The columns that every record has, in order; others follow them."""

PER_INPUT = [name for name, notes in _NOTES.items() if CURVE in notes]
"""The columns that MLflow shows over the input's index."""

STATED = {name: notes[-1] for name, notes in _NOTES.items() if notes and notes[-1] not in (ALWAYS, CURVE)}
"""How an audit knows the columns that do not follow from the certificate, the inputs and the settings, as others do."""


def measures(certificate: Certificate) -> Record:
    """The columns that the certificate alone decides."""
    it, values = certificate, certificate.scale.eigenvalues
    found: Record = {
        "prediction": it.prediction,
        "p_lower": it.p_lower,
        "radius": it.radius,
        "proxy_radius": it.proxy_radius,
        "ball_radius": it.ball_radius,
        "log_volume": it.log_volume,
        "scale_min": values[0].item(),
        "scale_max": values[-1].item(),
        "log_det": it.scale.log_det,
    }
    return found | {"decision": it.decision, "samples": it.samples} if it.decision else found


def derived(
    certificate: Certificate,
    *,
    label: int | None,
    measuring: Reference | None,
    perturbations: Sequence[Perturbation] = PERTURBATIONS,
    clamp: tuple[float, float] | None = None,
    rounding: float | None = None,
    severities: Mapping[str, Severity] | None = None,
) -> dict[str, Any]:
    """The columns that follow from the certificate, the input's label and the reference inputs.

    `severities` are those that are certified, where they are known.
    """
    if severities is None:
        severities = certified_severities(certificate, perturbations, clamp=clamp, rounding=rounding)
    return {
        "index": certificate.index,
        **({} if label is None else {"label": label, "correct": certificate.prediction == label}),
        **measures(certificate),
        **({} if measuring is None else {"contradictions": contradictions(certificate, measuring)}),
        "norm": certificate.norm,
        **({} if certificate.grid is None else {"grid": certificate.grid}),
        "batch": certificate.batch,
        "seed": certificate.seed,
        **{column: value for name, it in severities.items() for column, value in severity_columns(name, it).items()},
    }


def worth(measured: Fidelity) -> Record:
    """What G_C is worth on the reference inputs."""
    shares = measured.distribution
    return {
        "fidelity": measured.value,
        "fidelity_low": measured.low,
        "fidelity_high": measured.high,
        "preferred_class": max(range(len(shares)), key=shares.__getitem__),
        "preferred_share": max(shares),
    }


def left_by_memory(outcome: Outcome) -> Record:
    """What the memory says of a certificate."""
    return {
        "mode": "memory",
        "raw_radius": outcome.raw_radius,
        "raw_prediction": outcome.raw_prediction,
        "memory": outcome.reason,
    }


_SEVERITY, _PATH, _ASKED = "severity_", "path_", "_asked"


def severity_column(name: str, end: str = "") -> str:
    """`severity_NAME` of a perturbation, certified of both signs; its `end` is one of `_low`, `_high`, `_tested`."""
    return f"{_SEVERITY}{name}{end}"


def severity_columns(name: str, severity: Severity) -> dict[str, float | bool]:
    """A severity, the two ends with `_low` and `_high`, and `_tested` if it is not proven."""
    values = {"": severity.size, "_low": severity.low, "_high": severity.high}
    values |= {} if severity.proven else {"_tested": True}
    return {severity_column(name, end): value for end, value in values.items()}


def measured(records: pd.DataFrame) -> list[str]:
    """The perturbations whose certified severities the records hold, by name."""
    names = [str(column).removeprefix(_SEVERITY) for column in records if str(column).startswith(_SEVERITY)]
    return [name for name in names if not name.endswith(ENDS)]


def is_tested(records: pd.DataFrame, name: str) -> bool:
    """Whether severities of a perturbation were tested only, with nothing proven between them."""
    column = severity_column(name, "_tested")
    return bool(np.any(records[column])) if column in records else False


def path_column(name: str, part: str) -> str:
    """`path_NAME_PART`: of a path, `low` or `seconds`."""
    return f"{_PATH}{name}_{part}"


def path_columns(path: PathCertificate) -> dict[str, Any]:
    """The certified ends of a path, `low` and `high`; of a box the `share` of its sides that is certified.

    With them what was `asked`, as JSON, the `prediction`, whether it is `complete`, the `samples`, and, where the
    images before rounding are not spoken of, `unrounded`, and without its regions `regions`, which are False.
    """
    low, high = path.low, path.high
    if isinstance(high, tuple) and isinstance(low, tuple):
        ends = np.abs([*low, *high]), np.abs(np.ravel(path.asked))
        found = {"share": float(min(reached / asked for reached, asked in zip(*ends, strict=True) if asked))}
    else:
        found = {"low": low, "high": high}
    found |= {"asked": json.dumps(path.asked), "prediction": path.prediction, "status": path.status}
    found |= {"complete": path.complete}
    found |= {name: False for name in ("unrounded", "regions") if not getattr(path, name)}
    return {path_column(path.name, part): value for part, value in (found | {"samples": path.samples}).items()}


def path_names(records: pd.DataFrame) -> list[str]:
    """The paths that the records hold."""
    columns = [str(column) for column in records if str(column).startswith(_PATH) and str(column).endswith(_ASKED)]
    return [column.removeprefix(_PATH).removesuffix(_ASKED) for column in columns]
