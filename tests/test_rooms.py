"""The rooms of the library: a room imports only from those before it, and nothing in a circle (see pyproject.toml)."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def broken_contracts(root: Path) -> list[str]:
    """The lines of import-linter's report that name a broken contract."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command; lint_imports_command()",
            "--no-cache",
        ],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    found = [line for line in done.stdout.splitlines() if " BROKEN" in line]
    assert "Contracts:" in done.stdout and (done.returncode == 0) == (not found), done.stdout + done.stderr
    return found


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in ("rddrs", "pipelines"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_walk_goes_in_one_direction():
    assert broken_contracts(ROOT) == []


@pytest.mark.parametrize(
    ("module", "planted", "contract"),
    [
        ("rddrs/noise/isotropic.py", "from rddrs.report import save", "one direction"),
        ("rddrs/trust/audit.py", "if TYPE_CHECKING:\n    from rddrs.records import Store", "one direction"),
        ("rddrs/methods/base.py", "def late():\n    from rddrs.methods.rs import RS", "no circle"),
        ("pipelines/errors.py", "from pipelines.sweep import Sweep", "no circle"),
        ("rddrs/report/tables.py", "import mlflow", "one importer"),
    ],
)
def test_a_planted_import_breaks_it(copy, module, planted, contract):
    path = copy / module
    path.write_text(f"{path.read_text()}\nfrom typing import TYPE_CHECKING\n{planted}\n")
    assert any(contract in line for line in broken_contracts(copy))
