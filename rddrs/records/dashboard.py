"""The dashboard's database and what it knows of a run, without MLflow, which takes a second to import."""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

VIEW_KEY = "view"
"""Short, for the address below is to fit a line of 80 columns."""


def database(root: Path) -> str:
    """The tracking URI of the database below `root`."""
    return f"sqlite:///{quote(str(root.resolve() / 'mlflow.db'))}"


def finished_in(root: Path, note: Path) -> str | None:
    """The experiment in which MLflow shows the run of this note as finished; None where it does not."""
    path = root / "mlflow.db"
    if not (path.exists() and note.exists()):
        return None
    query = (
        "SELECT experiment_id FROM runs WHERE run_uuid = ? AND status = 'FINISHED' AND lifecycle_stage = 'active' "
        "AND artifact_uri LIKE ? || '%'"
    )
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        row = connection.execute(query, (note.read_text(), (root.resolve() / "mlartifacts").as_uri())).fetchone()
    return None if row is None else str(row[0])


def address(experiment: str) -> str:
    """Where `mlflow ui` shows the runs under their certificates."""
    return f"http://127.0.0.1:5000/#/experiments/{experiment}/runs?viewStateShareKey={VIEW_KEY}"
