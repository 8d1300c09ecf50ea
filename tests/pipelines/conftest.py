"""One honest run for all that is planted in copies of it."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from pipelines.compare import compare_runs
from pipelines.run import run
from tests.pipelines.liars import Liar, at
from tests.tables import copied

copied()


@pytest.fixture(scope="session")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of an honest run that is compared with isotropic noise."""
    root = tmp_path_factory.mktemp("honest")
    prepared = at(root)
    run(prepared)
    names = [prepared.run_folder.name, prepared.counterpart.run_folder.name]
    compare_runs(root, names)
    return root


@pytest.fixture
def root(honest: Path, tmp_path: Path) -> Path:
    """A copy of it to lie in; MLflow shows the artifacts of the copy."""
    root = Path(shutil.copytree(honest, tmp_path / "outputs"))
    with sqlite3.connect(root / "mlflow.db") as database:
        change = "UPDATE runs SET artifact_uri = replace(artifact_uri, ?, ?)"
        assert database.execute(change, (honest.as_uri(), root.as_uri())).rowcount > 0
    database.close()
    return root


@pytest.fixture
def liar(root: Path) -> Liar:
    return Liar(root, at(root))
