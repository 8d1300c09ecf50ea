"""What is kept: certificates and records in files, and runs in MLflow (`records.tracking`, imported by module)."""

from rddrs.records.binding import Binding
from rddrs.records.inputs import CertifiedInput, certify_input
from rddrs.records.outcomes import Folder, Ledger
from rddrs.records.store import Store, kept, measures, rebuild

__all__ = ["Binding", "CertifiedInput", "Folder", "Ledger", "Store", "certify_input", "kept", "measures", "rebuild"]
