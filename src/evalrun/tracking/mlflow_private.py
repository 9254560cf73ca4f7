"""What evalrun asks of MLflow that has no public name: an upgrade that changes it breaks this file alone.

pyproject.toml pins MLflow's minor version for its sake. The tables are in `mlflow_tables`, the other half of it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_used: list[int] = []  # the number of the connection that was used last


def keep_folders_apart(connection: int) -> None:
    """Empty a cache of MLflow's if another connection filled it: it knows a run's folder by the id alone.

    A copied store has the same ids, and what is logged there would go into the original's folders.

    Args:
        connection: The number of the one that is about to be used.
    """
    if _used != [connection]:
        from mlflow.tracking._tracking_service import utils

        utils._artifact_repos_cache.clear()
        _used[:] = [connection]


def close_database(client: Any) -> None:
    """Close the file that a client has open."""
    client._tracking_client.store.engine.dispose()


class OwnCommits:
    """Counts the transactions by which a client changes its SQLite file, from now on."""

    def __init__(self, client: Any) -> None:
        from sqlalchemy import event

        self.count = 0
        self._before: dict[int, int] = {}  # id of a connection -> rows that it had changed when a transaction began
        engine = client._tracking_client.store.engine
        event.listen(engine, "begin", self._begin)
        event.listen(engine, "commit", self._commit)

    def _begin(self, opened: Any) -> None:
        connection = opened.connection.dbapi_connection
        self._before[id(connection)] = connection.total_changes

    def _commit(self, opened: Any) -> None:
        connection = opened.connection.dbapi_connection
        self.count += connection.total_changes > self._before[id(connection)]


@contextlib.contextmanager
def synced_at_the_end(path: Path) -> Iterator[None]:
    """Make a SQLite file without waiting for the disk at each of a hundred commits: it counts once it is whole."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def switch_off(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", switch_off)
    try:
        yield
    finally:
        event.remove(Engine, "connect", switch_off)
    with path.open("rb") as file:
        os.fsync(file.fileno())


def upgrade_schema(uri: str) -> None:
    """Bring a database to the schema of the MLflow that is installed."""
    from mlflow.store.db.utils import _upgrade_db, create_sqlalchemy_engine_with_retry

    engine = create_sqlalchemy_engine_with_retry(uri)
    try:
        _upgrade_db(engine)
    finally:
        engine.dispose()
