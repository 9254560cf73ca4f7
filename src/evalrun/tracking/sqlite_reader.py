"""What a SQLite file of MLflow's holds of a suite, asked of SQLite itself: MLflow takes seconds to be imported."""

from __future__ import annotations

import contextlib
import hashlib
import marshal
import math
import os
import sqlite3
import sys
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from evalrun.core.errors import TrackingError
from evalrun.tracking import layout, moved
from evalrun.tracking.alarm_tags import LOOKS
from evalrun.tracking.connection import MlflowConnection
from evalrun.tracking.failures import explain
from evalrun.tracking.group_tags import GROUP
from evalrun.tracking.run_content import RunContent

_EXPERIMENT = "SELECT experiment_id, lifecycle_stage FROM experiments WHERE name = ?"
_RUNS = """
SELECT run_uuid, status FROM runs WHERE experiment_id = ? AND lifecycle_stage = 'active' {}
ORDER BY start_time DESC, run_uuid
"""
_TAGS = """
SELECT run_uuid, key, value FROM tags WHERE key >= 'evalrun.' AND key < 'evalrun/'
AND run_uuid IN (SELECT run_uuid FROM runs WHERE experiment_id = ? AND lifecycle_stage = 'active' {})
"""
_OF_KEYS = f"AND run_uuid IN (SELECT run_uuid FROM tags WHERE key = '{layout.KEY}' AND value IN ({{}}))"

_SUITES = f"""
SELECT e.name, e.experiment_id, e.lifecycle_stage = 'active' AND EXISTS (
    SELECT 1 FROM runs r JOIN tags k ON k.run_uuid = r.run_uuid AND k.key = '{layout.KIND}' AND k.value = 'checkpoint'
    WHERE r.experiment_id = e.experiment_id AND r.lifecycle_stage = 'active'
), e.lifecycle_stage
FROM experiments e JOIN experiment_tags t ON t.experiment_id = e.experiment_id
WHERE t.key = '{layout.KIND}' AND t.value = 'checkpoints' ORDER BY e.name
"""
_IDS = "SELECT run_uuid FROM runs WHERE experiment_id = ? AND lifecycle_stage = 'active' ORDER BY run_uuid"
_GROUPS = "SELECT key, value FROM experiment_tags WHERE experiment_id = ? AND key GLOB ? ORDER BY key"
_FOLDERS = "SELECT run_uuid, artifact_uri FROM runs WHERE experiment_id = ? AND lifecycle_stage = 'active'"
_TAGS_OF = "SELECT run_uuid, key, value FROM tags WHERE run_uuid IN ({}) AND key >= 'evalrun.' AND key < 'evalrun/'"
_OTHER = "key NOT GLOB 'n/*' AND key NOT GLOB 'chance/*'"  # than those, half of all, which a task's tags tell, too
_METRICS_OF = f"SELECT run_uuid, key, value, is_nan FROM latest_metrics WHERE run_uuid IN ({{}}) AND {_OTHER}"
_RUNS_A_PAGE = 500  # old SQLites take 999 values
_NOTED = {layout.COMMAND, layout.ALARM, LOOKS}  # by analyses and watches, of no result
_ROLLBACK = "0101"  # bytes 18 and 19 of a file that is not in WAL mode
_PLAIN = 2  # the version of marshal that writes equal values alike

Tag = tuple[str, str, str]  # run id, key, text
Value = tuple[str, str, float, int]  # run id, key, value, whether it is no number


class Digest(Protocol):
    """Of hashlib."""

    def update(self, data: bytes, /) -> None:
        """Go on with these."""


def suites(link: MlflowConnection) -> list[str]:
    """The suites that have checkpoint runs, sorted.

    Raises:
        TrackingError: the file cannot be read, or all there was is deleted.
    """
    with _opened(link, "listing suites") as database:
        found = database.execute(_SUITES).fetchall()
        if found and all(stage != "active" for *_, stage in found):
            raise link.deleted(found[0][0], found[0][1])
        return [name for name, _, has_runs, _ in found if has_runs]
    return []


def experiment_id(link: MlflowConnection, suite: str) -> str | None:
    """MLflow's id of a suite's experiment; None where there is none.

    Raises:
        TrackingError: the file cannot be read, or the suite's experiment was deleted.
    """
    with _opened(link, "looking up a suite") as database:
        found = _experiment(link, database, suite)
        return None if found is None else str(found)
    return None


def runs(link: MlflowConnection, suite: str, run_key: str | None = None) -> list[layout.RunEntry]:
    """Every checkpoint run of a suite, or those of one key, newest first.

    Raises:
        TrackingError: the file cannot be read, or the suite's experiment was deleted.
    """
    return _entries(link, suite, "", ()) if run_key is None else _entries(link, suite, _OF_KEYS.format("?"), (run_key,))


def looks(link: MlflowConnection, suite: str) -> list[layout.RunEntry]:
    """Every checkpoint run of a suite with no more of its tags than say which looks were taken at what."""
    return _entries(link, suite, "", (), f"AND key IN ('{layout.KEY}', '{layout.CELL}', '{LOOKS}')")


def _entries(
    link: MlflowConnection, suite: str, condition: str, values: Sequence[str], tags_alone: str = ""
) -> list[layout.RunEntry]:
    """The checkpoint runs of a suite that a condition holds for, as they are at one moment, newest first."""
    found: dict[str, tuple[bool, dict[str, str]]] = {}
    with _opened(link, "looking up finished tasks") as database:
        database.isolation_level = None
        database.execute("BEGIN")
        asked = (_experiment(link, database, suite), *values)
        for run_id, status in database.execute(_RUNS.format(condition), asked):
            found[run_id] = (status == "FINISHED", {})
        said = database.execute(_TAGS.format(condition) + tags_alone, asked)  # sorted, they take twice the time
        for run_id, key, value in said:
            found[run_id][1][sys.intern(key)] = value
    return [layout.RunEntry(run_id, ended, tags) for run_id, (ended, tags) in found.items() if layout.KEY in tags]


def runs_of_keys(link: MlflowConnection, suite: str, run_keys: Sequence[str]) -> list[layout.RunEntry]:
    """The checkpoint runs of some keys, those of one key newest first: not all need be read to know of some."""
    found = []
    for start in range(0, len(run_keys), _RUNS_A_PAGE):
        some = run_keys[start : start + _RUNS_A_PAGE]
        found += _entries(link, suite, _OF_KEYS.format(",".join("?" * len(some))), some)
    return found


def pages(link: MlflowConnection, suite: str, digest: Digest) -> Iterator[list[RunContent]]:
    """Tags and newest metrics of every checkpoint run of a suite, some hundred runs at a time.

    Args:
        link: The store.
        suite: Which suite.
        digest: Is fed with what was read, as by `content_digest`.

    Raises:
        TrackingError: the file cannot be read, or the suite's experiment was deleted.
    """
    for ids, tags, metrics in _pages(link, suite, digest):
        yield _contents(ids, tags, metrics)


def contents_of(link: MlflowConnection, run_ids: Sequence[str]) -> list[RunContent]:
    """Tags and newest metrics of some checkpoint runs."""
    found = []
    with _opened(link, "reading results") as database:
        for start in range(0, len(run_ids), _RUNS_A_PAGE):
            some = [*run_ids[start : start + _RUNS_A_PAGE]]
            given = (
                database.execute(query.format(",".join("?" * len(some))), some) for query in (_TAGS_OF, _METRICS_OF)
            )
            found += _contents(some, *(rows.fetchall() for rows in given))
    return found


def content_digest(link: MlflowConnection, suite: str) -> str:
    """A digest of all that a suite's table is made from; what analyses note on the runs is left out.

    Raises:
        TrackingError: the file cannot be read, or the suite's experiment was deleted.
    """
    digest = hashlib.sha256()
    for _ in _pages(link, suite, digest):
        pass
    return digest.hexdigest()


def _pages(link: MlflowConnection, suite: str, digest: Digest) -> Iterator[tuple[list[str], list[Tag], list[Value]]]:
    """Run ids, their tags and their newest metrics.

    Each page is one short transaction: a run is seen as it was at one moment, and those who write need not wait.
    """
    with _opened(link, "reading results") as database:
        database.isolation_level = None
        experiment = _experiment(link, database, suite)
        ids = [run_id for (run_id,) in database.execute(_IDS, (experiment,))]
        groups = database.execute(_GROUPS, (experiment, f"{GROUP}*")).fetchall()
        digest.update(marshal.dumps(groups, _PLAIN))
        for start in range(0, len(ids), _RUNS_A_PAGE):
            some = ids[start : start + _RUNS_A_PAGE]
            places = ",".join("?" * len(some))
            database.execute("BEGIN")
            tags = database.execute(_TAGS_OF.format(places), some).fetchall()
            metrics = database.execute(_METRICS_OF.format(places), some).fetchall()
            database.execute("COMMIT")
            said = some, [row for row in tags if row[1] not in _NOTED], metrics  # in SQLite's order, which stays
            digest.update(marshal.dumps(said, _PLAIN))
            yield some, tags, metrics


def group_tags(link: MlflowConnection, suite: str) -> dict[str, str]:
    """The tags of a suite's experiment that tell of groups of tasks.

    Raises:
        TrackingError: the file cannot be read, or the suite's experiment was deleted.
    """
    with _opened(link, "reading groups of tasks") as database:
        return dict(database.execute(_GROUPS, (_experiment(link, database, suite), f"{GROUP}*")))


def _contents(ids: list[str], tags: list[Tag], metrics: list[Value]) -> list[RunContent]:
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


def transactions(link: MlflowConnection) -> int | None:
    """How many have changed the file, as its header says (byte 24 of the format, modulo 2^32).

    None where that is not said: in WAL mode, and of a file that is not there.

    Raises:
        TrackingError: the file cannot be read.
    """
    header = stamp(link)[:1]
    return int(str(header[0])[48:56], 16) if header and str(header[0])[36:40] == _ROLLBACK else None


def is_active(link: MlflowConnection, run_id: str) -> bool:
    """Whether a run is there and not deleted."""
    with _opened(link, "looking up a run") as database:
        query = "SELECT 1 FROM runs WHERE run_uuid = ? AND lifecycle_stage = 'active'"
        return database.execute(query, (run_id,)).fetchone() is not None
    return False


def folders_of(link: MlflowConnection, suite: str) -> list[tuple[str, str | None]]:
    """A suite's runs and the folders of their artifacts; None for one that is not on this machine."""
    with _opened(link, "looking up artifacts") as database:
        found = database.execute(_FOLDERS, (_experiment(link, database, suite),)).fetchall()
        return [(run_id, moved.folder_here(uri or "", link.root)) for run_id, uri in found]
    return []


def artifact_folders(link: MlflowConnection, run_ids: Container[str]) -> dict[str, Path]:
    """Run id -> the folder of its artifacts, for those of these runs that keep them on this machine.

    Raises:
        TrackingError: the file cannot be read.
    """
    found: dict[str, Path] = {}
    with _opened(link, "looking up artifacts") as database:
        for run_id, uri in database.execute("SELECT run_uuid, artifact_uri FROM runs"):
            if run_id in run_ids and (folder := moved.here(uri or "", link.root)) is not None:
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
