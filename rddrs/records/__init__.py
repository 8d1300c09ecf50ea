"""What is kept: certificates and records in files, and runs in MLflow (`records.tracking`, imported by module)."""

from rddrs.records.binding import Binding
from rddrs.records.inputs import CertifiedInput, certify_input, described, remembered, remembered_records
from rddrs.records.inventory import ANYWHERE, SIDE_BY_SIDE, strangers
from rddrs.records.manifest import (
    is_as_written,
    made_elsewhere,
    manifest_differences,
    provenance,
    versions,
    write_manifest,
)
from rddrs.records.outcomes import Folder, Ledger, claims
from rddrs.records.record import (
    PER_INPUT,
    Record,
    derived,
    is_tested,
    measured,
    path_column,
    path_columns,
    path_names,
    severity_column,
    worth,
)
from rddrs.records.reproof import (
    Examined,
    examine,
    examine_run,
    memory_again,
    possible_worth_differences,
    proposal_differences,
    recounted,
    worth_differences,
)
from rddrs.records.run_folder import ClassifierFolder, ComparisonFolder, OutputRoot, RunFolder
from rddrs.records.stated import (
    Difference,
    as_read,
    differences,
    flattened,
    reading_differences,
    table_differences,
)
from rddrs.records.store import Store, kept, rebuild

__all__ = [
    "ANYWHERE",
    "PER_INPUT",
    "SIDE_BY_SIDE",
    "Binding",
    "CertifiedInput",
    "ClassifierFolder",
    "ComparisonFolder",
    "Difference",
    "Examined",
    "Folder",
    "Ledger",
    "OutputRoot",
    "Record",
    "RunFolder",
    "Store",
    "as_read",
    "certify_input",
    "claims",
    "derived",
    "described",
    "differences",
    "examine",
    "examine_run",
    "flattened",
    "is_as_written",
    "is_tested",
    "kept",
    "made_elsewhere",
    "manifest_differences",
    "measured",
    "memory_again",
    "path_column",
    "path_columns",
    "path_names",
    "possible_worth_differences",
    "proposal_differences",
    "provenance",
    "reading_differences",
    "rebuild",
    "recounted",
    "remembered",
    "remembered_records",
    "severity_column",
    "strangers",
    "table_differences",
    "versions",
    "worth",
    "worth_differences",
    "write_manifest",
]
