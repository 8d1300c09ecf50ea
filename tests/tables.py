"""MLflow's tables without the seconds that their migrations take: one database is migrated, the others copy it."""

import sqlite3
from contextlib import closing
from functools import cache

from mlflow.store.db import utils
from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import StaticPool

make = utils._initialize_tables


@cache
def first() -> sqlite3.Connection:
    """A database in memory that MLflow has made its tables in."""
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    make(engine)
    found = engine.raw_connection().driver_connection
    assert isinstance(found, sqlite3.Connection)
    return found


def copied() -> None:
    """From now on, in this process and its forks, MLflow's new databases begin as copies of the first."""
    first()
    utils._initialize_tables = into
    utils._get_latest_schema_revision = cache(utils._get_latest_schema_revision)  # it reads every migration


def into(engine: Engine) -> None:
    with closing(engine.raw_connection()) as connection:
        first().backup(connection.driver_connection)  # pyright: ignore[reportArgumentType]
