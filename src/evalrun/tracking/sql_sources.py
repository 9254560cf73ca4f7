"""What answers SQL about MLflow's tables, a file or a database's server: how each is opened and where they differ."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from evalrun.core.errors import TrackingError
from evalrun.tracking.connection import MlflowConnection
from evalrun.tracking.failures import explain

if TYPE_CHECKING:
    import sqlalchemy as sa

Row = tuple[Any, ...]
_OF_OTHERS = "SELECT e.name FROM experiments e WHERE e.workspace <> 'default' LIMIT 1"  # suites of the same name, too


class SqlSource(Protocol):
    """Answers statements in which `?` stands for a value; columns have their table's name before them (`t.key`)."""

    def ask(self, query: str, values: Sequence[object] = ()) -> Iterable[Row]:
        """The rows of a SELECT, to be gone through before the next is asked for."""

    def begins(self, column: str, text: str) -> str:
        """The condition that a column's text begins with another (of letters, dots and slashes), capitals and all."""

    def moment(self) -> contextlib.AbstractContextManager[object]:
        """A block in which all that is read is as it was at one moment."""

    def sum_of(self, row: str, rows: str, values: Sequence[object] = ()) -> str | None:
        """How many rows there are, and what their digests add up to, in whatever order; None where none are made.

        Args:
            row: What of a row goes into its digest.
            rows: Of a SELECT, what follows FROM.
            values: Those that `?` stands for in it.
        """


class FileSource:
    """A SQLite file."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def ask(self, query: str, values: Sequence[object] = ()) -> Iterable[Row]:
        """The rows of a SELECT, as SQLite finds them."""
        return self._database.execute(query, tuple(values))

    def begins(self, column: str, text: str) -> str:
        """A range, since LIKE takes capitals for small letters here."""
        return f"({column} >= '{text}' AND {column} < '{text[:-1]}{chr(ord(text[-1]) + 1)}')"

    @contextlib.contextmanager
    def moment(self) -> Iterator[None]:
        """A short transaction: those who write wait for it."""
        self._database.execute("BEGIN")
        yield
        self._database.execute("COMMIT")

    def sum_of(self, row: str, rows: str, values: Sequence[object] = ()) -> str | None:
        """None: SQLite has no digests."""
        return None


class ServerSource:
    """A connection of SQLAlchemy's, in a transaction that sees one moment from its beginning to its end."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def ask(self, query: str, values: Sequence[object] = ()) -> Iterable[Row]:
        """The rows of a SELECT, as plain tuples."""
        import sqlalchemy as sa

        first, *others = query.split("?")
        named = first + "".join(f":v{number}{part}" for number, part in enumerate(others))
        given = {f"v{number}": value for number, value in enumerate(values)}
        return map(tuple, self._connection.execute(sa.text(named), given))

    def begins(self, column: str, text: str) -> str:
        """Not a range: a server sorts as its language does, in which points may count for nothing."""
        return f"{column} LIKE '{text}%'"

    def moment(self) -> contextlib.AbstractContextManager[object]:
        """Nothing to do: the whole transaction sees one moment."""
        return contextlib.nullcontext()

    def sum_of(self, row: str, rows: str, values: Sequence[object] = ()) -> str | None:
        """Of digests of 64 bits, by PostgreSQL; none by others."""
        if not self._has_digests:
            return None
        query = f"SELECT COUNT(*), SUM(hashtextextended(CAST({row} AS text), 0)) FROM {rows}"
        ((count, total),) = self.ask(query, values)
        return f"{count} {total}"

    @cached_property
    def _has_digests(self) -> bool:
        """Whether this is PostgreSQL 11 or later, and not what only calls itself so."""
        if self._connection.dialect.name != "postgresql":
            return False
        self._connection.exec_driver_sql("SET LOCAL extra_float_digits = 3")  # as text, numbers are whole
        return bool(list(self.ask("SELECT 1 FROM pg_proc WHERE proname = 'hashtextextended'")))


class NoTables:
    """A database in which MLflow has made nothing yet."""

    def ask(self, query: str, values: Sequence[object] = ()) -> Iterable[Row]:
        """Nothing."""
        return ()

    def begins(self, column: str, text: str) -> str:
        """Of no use."""
        return ""

    def moment(self) -> contextlib.AbstractContextManager[object]:
        """Nothing to do."""
        return contextlib.nullcontext()

    def sum_of(self, row: str, rows: str, values: Sequence[object] = ()) -> str | None:
        """None: others may be making them."""
        return None


@contextlib.contextmanager
def opened(link: MlflowConnection, doing: str) -> Iterator[SqlSource]:
    """A store, to be read; where another process is making its file this moment, the block ends early.

    Raises:
        TrackingError: it cannot be read.
    """
    if link.database is None:
        with link.guard(doing):
            if not link.has_tables():
                yield NoTables()
                return
            with link.server.reading() as connection:
                source = ServerSource(connection)
                if list(source.ask(_OF_OTHERS)):
                    raise TrackingError(
                        f"the database {link.shown} holds experiments of several workspaces of MLflow's: set "
                        "MLFLOW_ENABLE_WORKSPACES=true, and MLFLOW_WORKSPACE to the one that is meant."
                    )
                yield source
        return
    address = f"{link.database.as_uri()}?mode=ro"
    try:
        with contextlib.closing(
            sqlite3.connect(address, timeout=link.patience_s, uri=True, isolation_level=None)
        ) as database:
            yield FileSource(database)
    except sqlite3.Error as error:
        if "no such table" not in str(error):
            raise TrackingError(explain(error, doing, link.place, link.shown)) from error
