"""Everything that a run shows, by name, and how an audit knows it. What is not named here is flagged."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

REBUILT = "computed again from counts, inputs and settings"
COUNTED = "counted again, at the audited inputs; the rest computed again from that"
SETTINGS = "those of the audit"
MEASURED = "measured again, at the audited inputs"
PROPOSED = "proposed again, at the audited inputs"
COPIED = "the bytes of the run's own file"
WRITTEN = "written by the audit"
UNKNOWN = "not audited"

FILES = {
    "config.yaml": SETTINGS,
    "manifest.json": SETTINGS,
    "mlflow_run_id": "a run of this name in MLflow",
    "regions/*.safetensors": COUNTED,
    "regions/*.tar": COUNTED,
    "scales/*.safetensors": "by the digest that the regions state",
    "memory/*.json": REBUILT,
    "memory/*.tar": REBUILT,
    "records.parquet": REBUILT,
    "records.csv": REBUILT,
    "log.tsv": REBUILT,
    "summary.json": REBUILT,
    "severities.csv": REBUILT,
    "report.html": UNKNOWN,
    "figures/*": UNKNOWN,
    "figures/audit.*": WRITTEN,
    "audit.json": WRITTEN,
    "audit.parquet": WRITTEN,
}
"""The files of a run's folder."""

SIDE_BY_SIDE = {"comparison.csv": REBUILT, "literature.csv": REBUILT, "report.html": UNKNOWN, "figures/*": UNKNOWN}
SIDE_BY_SIDE |= {"logs.csv": UNKNOWN, "jobs/*.json": UNKNOWN, "mlflow_run_id": UNKNOWN}
"""The files of a comparison's folder, or a sweep's."""

MLFLOW = {
    "metrics/*": REBUILT,
    "metrics/audit/*": WRITTEN,
    "params/*": SETTINGS,
    "tags/*": SETTINGS,
    "tags/mlflow.loggedImages": UNKNOWN,
    "tags/mlflow.note.content": UNKNOWN,
    "tags/mlflow.parentRunId": UNKNOWN,
    "tags/mlflow.user": UNKNOWN,
    "artifacts/*": COPIED,
    "artifacts/images/*": UNKNOWN,
    "artifacts/audit/*": WRITTEN,
    "artifacts/figures/audit.*": WRITTEN,
}
"""What MLflow shows of a run."""

ANYWHERE = ("audit", "output_root", "device", "run", "runs", "shard", "threat_at", "certify.workers")
ANYWHERE += ("classifier.checkpoint", "train.start", "data.root", "data.file", "figures")
"""The keys of the configuration that say where things lie, how to audit and what to ask: no result depends on them."""


def strangers(names: Iterable[str], known: Mapping[str, str]) -> list[str]:
    """The names that no pattern stands for; one of a file in a folder stands for those of that folder alone."""
    found = ((name, [each for each in known if each.count("/") == name.count("/")]) for name in names)
    return [name for name, patterns in found if not any(fnmatchcase(name, pattern) for pattern in patterns)]


def audited(name: str) -> bool:
    """Whether what MLflow shows under a name is compared."""
    return not any(fnmatchcase(name, pattern) for pattern, how in MLFLOW.items() if how in (UNKNOWN, WRITTEN))
