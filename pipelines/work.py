"""A stage at work: its settings are read and prepared, and whatever ends it early is told in one sentence."""

import sys
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryFile

from omegaconf import DictConfig
from safetensors import SafetensorError

from pipelines.build import is_of_a_user, told
from pipelines.config import load
from pipelines.errors import KEPT, Ended, SettingsError, missing
from pipelines.importing import uncollected
from pipelines.prepare import prepare
from pipelines.prepared import Prepared
from rddrs.data import BrokenInput, read_anew
from rddrs.files import Unreadable
from rddrs.records import OutputRoot
from rddrs.smoothing import keep_freed_memory


def work(stage: str, configuration: DictConfig) -> str:
    """Do a stage; returns the run's name. Raises Ended."""
    root = prepared = None
    try:
        settings = load(configuration)
        root = OutputRoot(settings.root)
        check_place(settings.root)
        keep_freed_memory()
        with read_anew() if stage == "audit" else nullcontext():
            prepared = prepare(settings)
        for note in prepared.notes:
            print(f"note: {note}", file=sys.stderr)
        with uncollected():
            module = import_module(f"pipelines.{stage}")
        getattr(module, stage)(prepared)
        return prepared.run_folder.name
    except Exception as error:
        if (end := ended(error, root, prepared)) is None:
            raise
        raise end from error


def ended(error: Exception, root: OutputRoot | None, prepared: Prepared | None = None) -> Ended | None:
    """How a command ends by an error while it writes below `root`; None where nobody foresaw it."""
    match error:
        case SettingsError() | BrokenInput():
            return Ended(f"error: {error}", 2)
        case ModuleNotFoundError():
            return Ended(missing(error), 2)
        case Unreadable():
            return Ended(f"error: {error}", 1)
        case OSError() | SafetensorError():
            place = f"{root.path}: " if root is not None and getattr(error, "filename", None) is None else ""
            return Ended(f"error: {place}{error}; {KEPT}", 1)
    if root is not None and type(error).__module__.partition(".")[0] in ("mlflow", "sqlalchemy", "sqlite3"):
        kept = KEPT
        if prepared is not None and not prepared.left:
            kept = f"{prepared.run_folder} keeps every certificate: once this is mended, run the same command again"
        return Ended(f"error: {root.database}: {reason(error)}; {kept}", 1)
    return Ended(f"error: {told(error)}", 2) if is_of_a_user(error) else None


def reason(error: Exception) -> str:
    """What sqlite says of an error of MLflow's database, where it says something; else the first line."""
    lines = str(error).splitlines()
    return next((line for line in lines if line.startswith("(sqlite3.")), lines[0])


def check_place(root: Path) -> None:
    """Raise SettingsError where results cannot be written."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=root):
            pass
    except OSError as error:
        told = f"output_root={root}: {error.strerror}"
        raise SettingsError(f"{told}: a folder that can be written is needed") from error
