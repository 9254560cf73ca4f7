"""What a SQLite file of MLflow's holds of a suite, asked of SQLite itself: MLflow takes seconds to be imported."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from evalrun.core.errors import TrackingError
from evalrun.tracking import layout
from evalrun.tracking.connection import MlflowConnection
from evalrun.tracking.failures import explain

_EXPERIMENT = "SELECT experiment_id, lifecycle_stage FROM experiments WHERE name = ?"
_TAGS = """
SELECT runs.run_uuid, runs.status, tags.key, tags.value FROM tags JOIN runs ON runs.run_uuid = tags.run_uuid
WHERE runs.experiment_id = ? AND runs.lifecycle_stage = 'active' AND tags.key LIKE 'evalrun.%' {and_key}
ORDER BY runs.start_time DESC, runs.run_uuid
"""
_OF_KEY = f"AND runs.run_uuid IN (SELECT run_uuid FROM tags WHERE key = '{layout.KEY}' AND value = ?)"


@dataclass(frozen=True)
class Noted:
    """A run as far as its tags and its state tell."""

    run_id: str
    ended: bool
    tags: Mapping[str, str]


def noted(link: MlflowConnection, suite: str, run_key: str | None = None) -> list[Noted]:
    """Every checkpoint run of a suite, or those of a key, newest first.

    Raises:
        TrackingError: the file cannot be read, or the suite's experiment was deleted.
    """
    found: dict[tuple[str, bool], dict[str, str]] = defaultdict(dict)
    try:
        address = f"{link.database.as_uri()}?mode=ro" if link.database is not None else ""
        with contextlib.closing(sqlite3.connect(address, timeout=link.patience_s, uri=True)) as database:
            experiment = database.execute(_EXPERIMENT, (suite,)).fetchone()
            if experiment is None:
                return []
            if experiment[1] != "active":
                raise link.deleted(suite, experiment[0])
            asked = _TAGS.format(and_key="" if run_key is None else _OF_KEY)
            values = (experiment[0],) if run_key is None else (experiment[0], run_key)
            for run_id, status, key, value in database.execute(asked, values):
                found[run_id, status == "FINISHED"][key] = value
    except sqlite3.Error as error:
        if "no such table" in str(error):  # another process is making the store this moment
            return []
        raise TrackingError(explain(error, "looking up finished tasks", link.place, link.shown)) from error
    return [Noted(run_id, ended, tags) for (run_id, ended), tags in found.items() if layout.KEY in tags]
