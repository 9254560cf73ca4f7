"""Whether a SQLite file was written since: by its first bytes and its size, without opening the database."""

from __future__ import annotations

import os

from evalrun.core.errors import TrackingError
from evalrun.tracking.connection import MlflowConnection
from evalrun.tracking.failures import explain

_ROLLBACK = "0101"  # bytes 18 and 19 of a file that is not in WAL mode


def stamp(link: MlflowConnection) -> tuple[object, ...]:
    """What differs once anybody has written the file: SQLite counts the transactions in its header, and has its size.

    In WAL mode, which MLflow does not choose, what is new lies in a file beside it.

    Raises:
        TrackingError: the file cannot be read.
    """
    assert link.database is not None
    found: list[object] = []
    try:
        for path in (link.database, link.database.with_name(f"{link.database.name}-wal")):
            if path.exists():
                with path.open("rb") as file:
                    said = os.fstat(file.fileno())
                    found += [file.read(100).hex(), said.st_ino, said.st_size, said.st_mtime_ns]
    except OSError as error:
        raise TrackingError(explain(error, "looking at the database", link.place, link.shown)) from error
    return tuple(found)


def transactions(link: MlflowConnection) -> int | None:
    """How many have changed the file, as its header says (byte 24 of the format, modulo 2^32).

    None where that is not said: in WAL mode, and of a file that is not there.

    Raises:
        TrackingError: the file cannot be read.
    """
    header = stamp(link)[:1]
    return int(str(header[0])[48:56], 16) if header and str(header[0])[36:40] == _ROLLBACK else None
