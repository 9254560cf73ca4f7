"""What a SQLite file of MLflow's holds of a suite, asked of SQLite itself: MLflow takes seconds to be imported."""

from __future__ import annotations

import contextlib
import math
import os
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from evalrun.core.errors import TrackingError
from evalrun.tracking import layout, moved
from evalrun.tracking.connection import MlflowConnection
from evalrun.tracking.failures import explain
from evalrun.tracking.run_content import RunContent

_EXPERIMENT = "SELECT experiment_id, lifecycle_stage FROM experiments WHERE name = ?"
_TAGS = """
SELECT runs.run_uuid, runs.status, tags.key, tags.value FROM tags JOIN runs ON runs.run_uuid = tags.run_uuid
WHERE runs.experiment_id = ? AND runs.lifecycle_stage = 'active' AND tags.key LIKE 'evalrun.%' {}
ORDER BY runs.start_time DESC, runs.run_uuid
"""
_OF_KEY = f"AND runs.run_uuid IN (SELECT run_uuid FROM tags WHERE key = '{layout.KEY}' AND value = ?)"

_IDS = "SELECT run_uuid FROM runs WHERE experiment_id = ? AND lifecycle_stage = 'active' ORDER BY run_uuid"
_TAGS_OF = "SELECT run_uuid, key, value FROM tags WHERE run_uuid IN ({}) AND key LIKE 'evalrun.%'"
_METRICS_OF = "SELECT run_uuid, key, value, is_nan FROM latest_metrics WHERE run_uuid IN ({})"
_RUNS_A_PAGE = 500  # old SQLites take 999 values


def runs(link: MlflowConnection, suite: str, run_key: str | None = None) -> list[layout.RunEntry]:
    """Every checkpoint run of a suite, or those of one key, newest first.

    Raises:
        TrackingError: the file cannot be read, or the suite's experiment was deleted.
    """
    found: dict[tuple[str, bool], dict[str, str]] = defaultdict(dict)
    with _opened(link, "looking up finished tasks") as database:
        query, values = (_TAGS.format(""), ()) if run_key is None else (_TAGS.format(_OF_KEY), (run_key,))
        for run_id, status, key, value in database.execute(query, (_experiment(link, database, suite), *values)):
            found[run_id, status == "FINISHED"][key] = value
    return [layout.RunEntry(run_id, ended, tags) for (run_id, ended), tags in found.items() if layout.KEY in tags]


def pages(link: MlflowConnection, suite: str) -> Iterator[list[RunContent]]:
    """Tags and newest metrics of every checkpoint run of a suite, some hundred runs at a time.

    Each page is one short transaction: a run is seen as it was at one moment, and those who write need not wait.

    Raises:
        TrackingError: the file cannot be read, or the suite's experiment was deleted.
    """
    with _opened(link, "reading results") as database:
        database.isolation_level = None
        ids = [run_id for (run_id,) in database.execute(_IDS, (_experiment(link, database, suite),))]
        for start in range(0, len(ids), _RUNS_A_PAGE):
            some = ids[start : start + _RUNS_A_PAGE]
            places = ",".join("?" * len(some))
            database.execute("BEGIN")
            tags = database.execute(_TAGS_OF.format(places), some).fetchall()
            metrics = database.execute(_METRICS_OF.format(places), some).fetchall()
            database.execute("COMMIT")
            yield _contents(some, tags, metrics)


def _contents(
    ids: list[str], tags: list[tuple[str, str, str]], metrics: list[tuple[str, str, float, int]]
) -> list[RunContent]:
    """Rows by their run; runs that are no checkpoints are left out."""
    tags_of: dict[str, dict[str, str]] = {run_id: {} for run_id in ids}
    for run_id, key, text in tags:
        tags_of[run_id][key] = text
    metrics_of: dict[str, dict[str, float]] = {run_id: {} for run_id in ids}
    for run_id, key, value, is_nan in metrics:
        metrics_of[run_id][key] = math.nan if is_nan else value
    return [
        RunContent(run_id, tags_of[run_id], metrics_of[run_id])
        for run_id in ids
        if tags_of[run_id].get(layout.KIND) == "checkpoint"
    ]


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


def artifact_folders(link: MlflowConnection) -> dict[str, Path]:
    """Run id -> the folder of its artifacts, for runs that keep them on this machine.

    Raises:
        TrackingError: the file cannot be read.
    """
    found: dict[str, Path] = {}
    with _opened(link, "looking up artifacts") as database:
        for run_id, uri in database.execute("SELECT run_uuid, artifact_uri FROM runs"):
            if (folder := moved.here(uri or "", link.root)) is not None:
                found[run_id] = folder
    return found


def _experiment(link: MlflowConnection, database: sqlite3.Connection, suite: str) -> int | None:
    """Its number; None where there is none."""
    found = database.execute(_EXPERIMENT, (suite,)).fetchone()
    if found is not None and found[1] != "active":
        raise link.deleted(suite, found[0])
    return None if found is None else int(found[0])


@contextlib.contextmanager
def _opened(link: MlflowConnection, doing: str) -> Iterator[sqlite3.Connection]:
    """The file, to be read; where another process is making it this moment, the block ends early."""
    assert link.database is not None
    address = f"{link.database.as_uri()}?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(address, timeout=link.patience_s, uri=True)) as database:
            yield database
    except sqlite3.Error as error:
        if "no such table" not in str(error):
            raise TrackingError(explain(error, doing, link.place, link.shown)) from error
