"""The manifest of a run's folder: a digest of every file, what made them, and from what."""

import json
import subprocess
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rddrs.digests import file_digest
from rddrs.files import write_text
from rddrs.records.binding import Binding
from rddrs.records.differences import MISSING, Difference
from rddrs.version import __version__

PACKAGES = ("torch", "numpy", "scipy", "pytorch-lightning", "geomstats", "mlflow")
NAME = "manifest.json"
_LATER = (NAME, "mlflow_run_id", "audit.json", "audit.parquet", "audit.png", "audit.svg")


def versions() -> dict[str, str]:
    """The versions of Python, of this library and of the packages that a result may depend on."""
    return {"python": sys.version.split()[0], "rddrs": __version__, **{name: version(name) for name in PACKAGES}}


def commit() -> str:
    """The git commit of the code, with `-dirty` where it was changed since; `unknown` outside a checkout."""
    here = Path(__file__).parent
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=here, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return described.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def write_manifest(folder: Path, binding: Binding, configuration: dict[str, Any]) -> None:
    """Write the manifest of all that is in the folder, but for what an audit adds."""
    manifest = {
        "run": folder.name,
        "binding": asdict(binding),
        "configuration": configuration,
        "versions": versions(),
        "commit": commit(),
        "files": _files(folder),
    }
    write_text(folder / NAME, json.dumps(manifest, indent=2) + "\n")


def manifest_differences(folder: Path) -> list[Difference]:
    """The files of the folder that are not those of its manifest: changed, removed or added."""
    try:
        stated = json.loads((folder / NAME).read_text())["files"]
    except (OSError, KeyError, TypeError, ValueError):
        return [Difference(NAME, None, "file", MISSING, "a manifest: run the same command again")]
    found = _files(folder)
    pairs = {name: (found.get(name, MISSING), stated.get(name, MISSING)) for name in sorted({*stated, *found})}
    return [Difference(name, None, "sha256", *pair) for name, pair in pairs.items() if pair[0] != pair[1]]


def _files(folder: Path) -> dict[str, str]:
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name not in _LATER)
    return {
        path.relative_to(folder).as_posix(): file_digest(path)
        for path in sorted(paths)
        if not path.name.startswith(".")  # being written, or locks
    }
