"""The schema of an MLflow database: MLflow migrates an older one when it opens it, and the older cannot open it then.

So it is looked at before that. A migration is asked for with `tracking.upgrade=true`, and a copy of the file is kept.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import logging
import re
import sqlite3
from functools import lru_cache
from pathlib import Path

from evalrun.core.errors import TrackingError
from evalrun.tracking import mlflow_private, sqlite_address

log = logging.getLogger(__name__)
_QUERY = "SELECT version_num FROM alembic_version"
_REVISION = re.compile(r"^revision\s*(?::[^=]*)?=\s*[\"'](\w+)", re.MULTILINE)
_DOWN = re.compile(r"^down_revision\s*(?::[^=]*)?=\s*(.*)$", re.MULTILINE)


@lru_cache(maxsize=1)
def known() -> tuple[str | None, frozenset[str]]:
    """The schema of the MLflow that is installed, None where that cannot be told, and all that it can migrate from."""
    spec = importlib.util.find_spec("mlflow")
    if spec is None or not spec.submodule_search_locations:
        return None, frozenset()
    there, below = set(), set()
    for path in (Path(spec.submodule_search_locations[0]) / "store" / "db_migrations" / "versions").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        there.update(_REVISION.findall(text))
        for line in _DOWN.findall(text):
            below.update(re.findall(r"[\"'](\w+)[\"']", line))
    heads = there - below
    return (heads.pop() if len(heads) == 1 else None), frozenset(there)


def of_file(database: Path, patience_s: float) -> str | None:
    """The schema of a SQLite file; None where MLflow has made none in it yet.

    Raises:
        sqlite3.Error: it cannot be read.
    """
    address = f"{database.as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(address, timeout=patience_s, uri=True)) as connection:
        try:
            row = connection.execute(_QUERY).fetchone()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return None
            raise
    return None if row is None else str(row[0])


def check_file(database: Path, patience_s: float, upgrade: bool) -> None:
    """See that MLflow would not change a SQLite file; migrate it, a copy being kept, where that was asked for.

    Raises:
        TrackingError: it is another version's.
        sqlite3.Error: it cannot be read.
    """
    there = of_file(database, patience_s)
    if _is_current(there, str(database)) or _is_unfinished(database, patience_s):
        return
    if not upgrade:
        raise TrackingError(
            f"{_older(str(database))}: set tracking.upgrade=true to have that done, with a copy of the file kept "
            "beside it, or set tracking.root to another folder."
        )
    kept = _copy(database, f"{database.name}.schema-{there}", patience_s)
    log.warning("%s is migrated to the schema of this MLflow; as it was before it is kept in %s", database, kept)
    mlflow_private.upgrade_schema(sqlite_address.address_of(database))


def _is_unfinished(database: Path, patience_s: float) -> bool:
    """Whether its making was cut short: MLflow ends by filing an experiment of its own, and no older one has it yet."""
    with contextlib.closing(
        sqlite3.connect(f"{database.as_uri()}?mode=ro", timeout=patience_s, uri=True)
    ) as connection:
        return connection.execute("SELECT 1 FROM experiments LIMIT 1").fetchone() is None


def check_server(uri: str, shown: str, upgrade: bool) -> bool:
    """See that MLflow would not change a database that a server keeps; nobody can copy that one from here.

    Returns:
        Whether MLflow has made its tables there.

    Raises:
        TrackingError: it is another version's.
        sqlalchemy.exc.SQLAlchemyError: it cannot be asked.
    """
    import sqlalchemy

    engine = sqlalchemy.create_engine(uri)
    try:
        there = None
        if sqlalchemy.inspect(engine).has_table("alembic_version"):
            with engine.connect() as connection:
                there = connection.execute(sqlalchemy.text(_QUERY)).scalar()
    finally:
        engine.dispose()
    if _is_current(there, shown):
        return there is not None
    if not upgrade:
        raise TrackingError(f"{_older(shown)}: back it up (pg_dump), and set tracking.upgrade=true to have that done.")
    log.warning("%s is migrated to the schema of this MLflow", shown)
    mlflow_private.upgrade_schema(uri)
    return True


def _is_current(there: str | None, place: str) -> bool:
    head, revisions = known()
    if there is not None and head is not None and there not in revisions:
        raise TrackingError(
            f"the MLflow database {place} was written by a later MLflow than the {_version()} here (its schema is "
            f"{there}): install the MLflow that wrote it, or set tracking.root to another folder."
        )
    return there is None or head is None or there == head


def _older(place: str) -> str:
    return (
        f"the MLflow database {place} was written by an older MLflow, and the {_version()} here would migrate "
        "it, after which the older one cannot open it any more"
    )


def _version() -> str:
    return importlib.metadata.version("mlflow")


def _copy(database: Path, name: str, patience_s: float) -> Path:
    """A whole copy, under a name that is not taken, though others may be writing."""
    target, number = database.with_name(name), 1
    while target.exists():
        number += 1
        target = database.with_name(f"{name}-{number}")
    with (
        contextlib.closing(sqlite3.connect(database, timeout=patience_s)) as source,
        contextlib.closing(sqlite3.connect(target)) as copy,
    ):
        source.backup(copy)
    return target
