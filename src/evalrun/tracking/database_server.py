"""A database that a server keeps, asked without MLflow, which takes seconds to be imported and minutes to give up."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from evalrun.core.errors import TrackingError

if TYPE_CHECKING:
    import sqlalchemy as sa

# Importing SQLAlchemy takes time that a SQLite file need not: it is imported where it is used.

_READ_BY_SQL = ("postgresql", "mysql")  # what statements of ours are tried with; others are asked by MLflow
_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_PROBE_S = 5.0
_WITH_TIMEOUT = ("psycopg", "psycopg2", "pymysql", "mysqldb")  # drivers, of PostgreSQL and MySQL
_SNAPSHOT = {"isolation_level": "REPEATABLE READ"}  # all statements see the database of one moment
_OPTIONS: dict[str, dict[str, Any]] = {
    "postgresql": {**_SNAPSHOT, "postgresql_readonly": True},
    "mysql": _SNAPSHOT,
}
_CALLED = {"psycopg": "psycopg[binary]", "psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}  # module -> for pip


class DatabaseServer:
    """Where a database is, and short connections to it: idle ones would take the place of other workers'.

    Args:
        uri: Of SQLAlchemy, with its password.
        shown: The same for messages, without it.
        patience_s: How long to wait for an answer.
    """

    def __init__(self, uri: str, shown: str, patience_s: float) -> None:
        self._uri = uri
        self._shown = shown
        self._patience_s = patience_s

    @property
    def is_read_by_sql(self) -> bool:
        """Whether our own statements are for it; what is in which workspace, MLflow's client knows."""
        has_workspaces = os.environ.get("MLFLOW_ENABLE_WORKSPACES", "").lower() in ("true", "1")
        return self._uri.startswith(_READ_BY_SQL) and not has_workspaces

    @property
    def is_written_by_sql(self) -> bool:
        """Whether results are filed by statements of ours: of all these, PostgreSQL tells which rows were new."""
        return self.is_read_by_sql and self._uri.startswith("postgresql")

    @cached_property
    def _engine(self) -> sa.Engine:
        """SQLAlchemy's, which connects anew each time.

        Raises:
            TrackingError: the package for this kind of database is missing.
        """
        import sqlalchemy as sa

        url = sa.make_url(self._uri)
        is_told = url.drivername.partition("+")[2] in _WITH_TIMEOUT or url.drivername == "postgresql"
        wait = {"connect_timeout": max(2, round(self._patience_s))} if is_told else {}
        try:
            return sa.create_engine(url, poolclass=sa.NullPool, connect_args=wait)
        except ImportError as error:
            lacks = str(error.name)
            do = f"install it with `pip install '{_CALLED.get(lacks, lacks)}'`, or use an `mlflow server`."
            raise TrackingError(f"{self._shown} needs the Python package '{lacks}'; {do}") from error

    def reach(self) -> None:
        """Connect once, soon; MLflow itself would try ten times.

        Raises:
            TrackingError: the package for this kind of database is missing.
            OSError: nobody answers there.
            sqlalchemy.exc.SQLAlchemyError: it does not let this user in.
        """
        import sqlalchemy as sa

        url = sa.make_url(self._uri)
        if url.host:
            port = url.port or _PORTS.get(url.get_backend_name(), 0)
            socket.create_connection((url.host, port), timeout=min(self._patience_s, _PROBE_S)).close()
        self._engine.connect().close()

    @contextlib.contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection that may not write, to the database as it is at the first statement."""
        engine = self._engine.execution_options(**_OPTIONS.get(self._engine.dialect.name, {}))
        with engine.connect() as connection:
            if engine.dialect.name == "mysql":
                connection.exec_driver_sql("SET TRANSACTION READ ONLY")
            yield connection
