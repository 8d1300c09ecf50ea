"""The manifest of a run's folder: a digest of every file, what made them, and from what."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from rddrs.digests import file_digest
from rddrs.files import write_text
from rddrs.records.binding import Binding
from rddrs.records.inventory import FILES, strangers
from rddrs.records.stated import MISSING, Difference, differences, flattened, read_json
from rddrs.version import __version__

PACKAGES = ("torch", "numpy", "scipy", "pytorch-lightning", "geomstats", "mlflow")
NAME = "manifest.json"
_LATER = (NAME, "mlflow_run_id", "audit.json", "audit.parquet", "figures/audit.png", "figures/audit.svg")


def versions() -> dict[str, str]:
    """The versions of Python, of this library and of the packages that a result may depend on, and the CPU's kind."""
    own = {"python": sys.version.split()[0], "rddrs": __version__, "cpu": torch.backends.cpu.get_cpu_capability()}
    return own | _of_packages()


@cache
def _of_packages() -> dict[str, str]:
    """Read once: what is imported stays what it is."""
    return {name: version(name) for name in PACKAGES}


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


def manifest_differences(
    folder: Path, binding: Binding, configuration: Mapping[str, Any], run: str | None
) -> list[Difference]:
    """What the manifest states that is not so, and the files that are not those of the manifest, or of no run.

    `run` is the run's name, None where it is not known. Versions and commit are those of whoever made the run:
    `provenance` gives them.
    """
    try:
        stated = read_json((folder / NAME).read_text())
        files, made = stated["files"], {name: str(stated["versions"][name]) for name in versions()}
        follows = {
            "run": run or stated["run"],
            "binding": asdict(binding),
            "configuration": configuration,
            "commit": stated["commit"],
        }
        follows |= {"versions": made | {"rddrs": binding.version}}
        said = flattened({name: value for name, value in stated.items() if name != "files"})
        wrong = differences(NAME, said, flattened(json.loads(json.dumps(follows))))
        found = _files(folder)
        pairs = {name: (found.get(name, MISSING), files.get(name, MISSING)) for name in sorted({*files, *found})}
    except (OSError, LookupError, TypeError, ValueError, AttributeError):
        return [Difference(NAME, None, "file", MISSING, "a manifest: run the same command again")]
    wrong += [Difference(name, None, "sha256", *pair) for name, pair in pairs.items() if pair[0] != pair[1]]
    return wrong + [Difference(name, None, "file", "a file", MISSING) for name in strangers(found, FILES)]


def is_as_written(folder: Path, binding: Binding, configuration: Mapping[str, Any]) -> bool:
    """Whether the folder is, file for file, what this very code wrote of these; of changed code nothing is known."""
    now = {"commit": commit(), **versions()}
    same = provenance(folder) == now and not now["commit"].endswith("-dirty")
    return same and not manifest_differences(folder, binding, configuration, folder.name)


def provenance(folder: Path) -> dict[str, str]:
    """The commit and the versions that a run's manifest states; empty where there is none that can be read."""
    try:
        stated = json.loads((folder / NAME).read_text())
        return {"commit": stated["commit"], **stated["versions"]}
    except (OSError, LookupError, TypeError, ValueError):
        return {}


def made_elsewhere(folder: Path) -> list[str]:
    """What of a run's commit and versions is not so here, in one line; nothing where all is."""
    stated, here = provenance(folder), {"commit": commit(), **versions()}
    other = [f"{name} {stated.get(name)} (here {value})" for name, value in here.items() if stated.get(name) != value]
    return [f"the manifest says that the run was made with {', '.join(other)}"] if other else []


def _files(folder: Path) -> dict[str, str]:
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        name: file_digest(path)
        for name, path in paths.items()
        if name not in _LATER and not path.name.startswith(".")  # being written, or locks
    }
