"""What is kept: certificates and records in files, and runs in MLflow (`records.tracking`, imported by module)."""

from rddrs.records.outcomes import Folder, Ledger
from rddrs.records.store import Store, kept, load_scale, measures, rebuild, save_scale

__all__ = ["Folder", "Ledger", "Store", "kept", "load_scale", "measures", "rebuild", "save_scale"]
