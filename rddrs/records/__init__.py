"""What is kept: certificates and records in files, and runs in MLflow (`records.tracking`, imported by module)."""

from rddrs.records.binding import Binding
from rddrs.records.differences import Difference, differences
from rddrs.records.examination import Examined, examine, memory_again, worth_differences
from rddrs.records.inputs import CertifiedInput, certify_input, derived, remembered, worth
from rddrs.records.manifest import manifest_differences, write_manifest
from rddrs.records.outcomes import Folder, Ledger
from rddrs.records.store import Store, kept, measures, rebuild

__all__ = [
    "Binding",
    "CertifiedInput",
    "Difference",
    "Examined",
    "Folder",
    "Ledger",
    "Store",
    "certify_input",
    "derived",
    "differences",
    "examine",
    "kept",
    "manifest_differences",
    "measures",
    "memory_again",
    "rebuild",
    "remembered",
    "worth",
    "worth_differences",
    "write_manifest",
]
