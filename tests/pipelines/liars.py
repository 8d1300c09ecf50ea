"""A small honest run, and who lies about it."""

import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pipelines.prepare import Prepared, prepare
from pipelines.settings import Settings
from rddrs.digests import file_digest
from rddrs.files import write_text
from rddrs.records import Store
from tests.pipelines.test_config import settings

SMALL = ["data=toy2d", "train.epochs=2", "certify.samples=500", "certify.batch=128", "data.reference=50"]
SMALL += ["data.subset=3", "audit.inputs=1", "audit.samples=100"]
ANCER = ["method=ancer", "method.iterations=5"]
AIMED = ["threat=[brightness]", "threat_at={brightness: 0.1}"]
INDEX = 0
"""The input that is audited by samples; 100 and 200 are the others."""


@cache
def small(*overrides: str) -> Settings:
    return settings(*SMALL, *overrides)


def at(root: Path, *overrides: str) -> Prepared:
    """The aimed run below `root`, or with overrides another."""
    return prepare(small(*(overrides or (*ANCER, *AIMED))).model_copy(update={"output_root": str(root)}))


@dataclass(frozen=True)
class Liar:
    """Who can write to everything that a run shows, below `root`."""

    root: Path
    prepared: Prepared

    @property
    def folder(self) -> Path:
        return self.prepared.run_folder

    @property
    def counterpart(self) -> Path:
        return self.prepared.counterpart.run_folder

    @property
    def comparison(self) -> Path:
        return next(self.root.glob("comparisons/*"))

    def bless(self, folder: Path | None = None) -> None:
        """Write the manifest anew."""
        folder = folder or self.folder
        stated = json.loads((folder / "manifest.json").read_text())
        paths = [path for path in folder.rglob("*") if path.is_file() and path.name[0] != "."]
        later = ("manifest.json", "mlflow_run_id")
        files = {it.relative_to(folder).as_posix(): file_digest(it) for it in paths if it.name not in later}
        write_text(folder / "manifest.json", json.dumps(stated | {"files": files}))

    def manifest(self, change: Callable[[dict], None]) -> None:
        stated = json.loads((self.folder / "manifest.json").read_text())
        change(stated)
        write_text(self.folder / "manifest.json", json.dumps(stated))

    def sql(self, statement: str, *values: Any) -> None:
        """Change the database of MLflow; `ID` stands for the run."""
        with sqlite3.connect(self.root / "mlflow.db") as database:
            found = database.execute(
                statement.replace("ID", f"'{(self.folder / 'mlflow_run_id').read_text()}'"), values
            )
            assert found.rowcount > 0
        database.close()

    def metric(self, name: str, value: float, step: int = 0) -> None:
        self.sql("UPDATE metrics SET value = ? WHERE key = ? AND step = ? AND run_uuid = ID", value, name, step)

    def invent_metric(self, name: str, value: float, step: int = 0) -> None:
        for table in ("metrics", "latest_metrics"):
            columns = "(key, value, timestamp, step, is_nan, run_uuid)"
            self.sql(f"INSERT OR REPLACE INTO {table} {columns} VALUES (?, ?, 1, ?, 0, ID)", name, value, step)

    def artifact(self, name: str) -> Path:
        """A file that MLflow shows, no longer one with the run's own."""
        path = self.root / "mlartifacts" / (self.folder / "mlflow_run_id").read_text() / "artifacts" / name
        path.unlink(missing_ok=True)
        return path

    def region(self, change: Callable[[dict, dict], None], folder: Path | None = None, index: int = INDEX) -> None:
        """Change the tensors and statements of a region."""
        path = Store(folder or self.folder).path(index)
        with safe_open(path, "pt") as file:
            stated = {name: json.loads(text) for name, text in file.metadata().items()}
        tensors = load_file(path)
        change(tensors, stated)
        path.unlink()
        save_file(tensors, path, {name: json.dumps(value) for name, value in stated.items()})

    def record(self, **values: Any) -> None:
        """Change or invent columns of a record, wherever it stands."""
        self.region(lambda _, stated: stated["record"].update(values))
        table = pd.read_parquet(self.folder / "records.parquet")
        for name, value in values.items():
            table[name] = table.get(name, value)
            table.loc[table["index"] == INDEX, name] = value
        self.write(table, "records.parquet")
        self.write(table, "records.csv")

    def write(self, table: pd.DataFrame, name: str, folder: Path | None = None) -> None:
        path = (folder or self.folder) / name
        path.unlink()  # MLflow has it by a link
        table.to_csv(path, index=False) if path.suffix == ".csv" else table.to_parquet(path, index=False)

    def text(self, name: str, change: Callable[[str], str], folder: Path | None = None) -> None:
        path = (folder or self.folder) / name
        before = path.read_text()
        assert change(before) != before
        write_text(path, change(before))

    def cell(self, name: str, value: float) -> None:
        table = pd.read_parquet(self.folder / "records.parquet")
        table.loc[table["index"] == INDEX, name] = value
        self.write(table, "records.parquet")

    def summary(self, **values: float) -> None:
        self.text("summary.json", lambda text: json.dumps(json.loads(text) | values))

    def table(self, name: str, change: Callable[[pd.DataFrame], pd.DataFrame], folder: Path | None = None) -> None:
        self.write(change(pd.read_csv((folder or self.folder) / name)), name, folder)
