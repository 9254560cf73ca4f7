"""What a SQLite file of MLflow's holds of a suite, asked of SQLite itself: MLflow takes seconds to be imported."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from evalrun.core.errors import TrackingError
from evalrun.tracking import layout, moved
from evalrun.tracking.connection import MlflowConnection
from evalrun.tracking.failures import explain

_EXPERIMENT = "SELECT experiment_id, lifecycle_stage FROM experiments WHERE name = ?"
_TAGS = """
SELECT runs.run_uuid, runs.status, tags.key, tags.value FROM tags JOIN runs ON runs.run_uuid = tags.run_uuid
WHERE runs.experiment_id = ? AND runs.lifecycle_stage = 'active' AND tags.key LIKE 'evalrun.%' {}
ORDER BY runs.start_time DESC, runs.run_uuid
"""
_OF_KEY = f"AND runs.run_uuid IN (SELECT run_uuid FROM tags WHERE key = '{layout.KEY}' AND value = ?)"


def runs(link: MlflowConnection, suite: str, run_key: str | None = None) -> list[layout.RunEntry]:
    """Every checkpoint run of a suite, or those of one key, newest first.

    Raises:
        TrackingError: the file cannot be read, or the suite's experiment was deleted.
    """
    found: dict[tuple[str, bool], dict[str, str]] = defaultdict(dict)
    with _opened(link, "looking up finished tasks") as database:
        experiment = database.execute(_EXPERIMENT, (suite,)).fetchone()
        if experiment is None:
            return []
        if experiment[1] != "active":
            raise link.deleted(suite, experiment[0])
        query, values = (_TAGS.format(""), ()) if run_key is None else (_TAGS.format(_OF_KEY), (run_key,))
        for run_id, status, key, value in database.execute(query, (experiment[0], *values)):
            found[run_id, status == "FINISHED"][key] = value
    return [layout.RunEntry(run_id, ended, tags) for (run_id, ended), tags in found.items() if layout.KEY in tags]


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
