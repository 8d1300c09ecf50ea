"""What is kept: certificates and records in files, and runs in MLflow (`records.tracking`, imported by module)."""

from rddrs.records.binding import Binding
from rddrs.records.differences import (
    Difference,
    as_read,
    differences,
    flattened,
    reading_differences,
    table_differences,
)
from rddrs.records.examination import Examined, examine, memory_again, worth_differences
from rddrs.records.inputs import CertifiedInput, certify_input, derived, remembered, worth
from rddrs.records.inventory import ANYWHERE, SIDE_BY_SIDE, strangers
from rddrs.records.manifest import manifest_differences, provenance, versions, write_manifest
from rddrs.records.outcomes import Folder, Ledger
from rddrs.records.paths import path_columns
from rddrs.records.store import Store, kept, measures, rebuild

__all__ = [
    "ANYWHERE",
    "SIDE_BY_SIDE",
    "Binding",
    "CertifiedInput",
    "Difference",
    "Examined",
    "Folder",
    "Ledger",
    "Store",
    "as_read",
    "certify_input",
    "derived",
    "differences",
    "examine",
    "flattened",
    "kept",
    "manifest_differences",
    "measures",
    "memory_again",
    "path_columns",
    "provenance",
    "reading_differences",
    "rebuild",
    "remembered",
    "strangers",
    "table_differences",
    "versions",
    "worth",
    "worth_differences",
    "write_manifest",
]
