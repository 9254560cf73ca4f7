"""What MLflow's tables hold of a suite, asked by SQL: its client makes an object of each metric, page by page.

The same statements go to a SQLite file and to a database's server; `sql_sources` knows how these differ.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from evalrun.core.errors import TrackingError
from evalrun.tracking import layout, moved
from evalrun.tracking.alarm_tags import LOOKS
from evalrun.tracking.connection import MlflowConnection
from evalrun.tracking.group_tags import GROUP
from evalrun.tracking.run_content import RunContent
from evalrun.tracking.sql_sources import Row, SqlSource, opened
from evalrun.tracking.suite_digest import ACTIVE, OWN, SuiteDigest, Tag, Value, is_result

# `key` is a reserved word of MySQL's, but not behind a table's name.
_EXPERIMENT = "SELECT experiment_id, lifecycle_stage FROM experiments WHERE name = ?"
_RUNS = f"SELECT r.run_uuid, r.status FROM runs r WHERE {ACTIVE} {{}} ORDER BY r.start_time DESC, r.run_uuid"
_TAGS = f"""
SELECT t.run_uuid, t.key, t.value FROM tags t WHERE {{own}}
AND t.run_uuid IN (SELECT r.run_uuid FROM runs r WHERE {ACTIVE} {{}})
"""
_OF_KEYS = f"AND r.run_uuid IN (SELECT k.run_uuid FROM tags k WHERE k.key = '{layout.KEY}' AND k.value IN ({{}}))"

_SUITES = f"""
SELECT e.name, e.experiment_id, e.lifecycle_stage = 'active' AND EXISTS (
    SELECT 1 FROM runs r JOIN tags k ON k.run_uuid = r.run_uuid AND k.key = '{layout.KIND}' AND k.value = 'checkpoint'
    WHERE r.experiment_id = e.experiment_id AND r.lifecycle_stage = 'active'
), e.lifecycle_stage
FROM experiments e JOIN experiment_tags t ON t.experiment_id = e.experiment_id
WHERE t.key = '{layout.KIND}' AND t.value = 'checkpoints'
"""
_IDS = f"SELECT r.run_uuid FROM runs r WHERE {ACTIVE} ORDER BY r.run_uuid"
_GROUPS = "SELECT t.key, t.value FROM experiment_tags t WHERE t.experiment_id = ? AND {} ORDER BY t.key"
_FOLDERS = f"SELECT r.run_uuid, r.artifact_uri FROM runs r WHERE {ACTIVE}"
_TAGS_OF = "SELECT t.run_uuid, t.key, t.value FROM tags t WHERE t.run_uuid IN ({}) AND {own}"
_METRICS_OF = """
SELECT m.run_uuid, m.key, m.value, m.is_nan FROM latest_metrics m WHERE m.run_uuid IN ({}) AND {result}
"""
_RUNS_A_PAGE = 500  # old SQLites take 999 values


def suites(link: MlflowConnection) -> list[str]:
    """The suites that have checkpoint runs, sorted.

    Raises:
        TrackingError: the store cannot be read, or all there was is deleted.
    """
    with opened(link, "listing suites") as source:
        found = list(source.ask(_SUITES))
        if found and all(stage != "active" for *_, stage in found):
            raise link.deleted(found[0][0], found[0][1])
        return sorted(name for name, _, has_runs, _ in found if has_runs)
    return []


def experiment_id(link: MlflowConnection, suite: str) -> str | None:
    """MLflow's id of a suite's experiment; None where there is none.

    Raises:
        TrackingError: the store cannot be read, or the suite's experiment was deleted.
    """
    with opened(link, "looking up a suite") as source:
        found = _experiment(link, source, suite)
        return None if found is None else str(found)
    return None


def runs(link: MlflowConnection, suite: str, run_key: str | None = None) -> list[layout.RunEntry]:
    """Every checkpoint run of a suite, or those of one key, newest first.

    Raises:
        TrackingError: the store cannot be read, or the suite's experiment was deleted.
    """
    return _entries(link, suite, "", ()) if run_key is None else _entries(link, suite, _OF_KEYS.format("?"), (run_key,))


def looks(link: MlflowConnection, suite: str) -> list[layout.RunEntry]:
    """Every checkpoint run of a suite with no more of its tags than say which looks were taken at what."""
    return _entries(link, suite, "", (), f"AND t.key IN ('{layout.KEY}', '{layout.CELL}', '{LOOKS}')")


def _entries(
    link: MlflowConnection, suite: str, condition: str, values: Sequence[str], tags_alone: str = ""
) -> list[layout.RunEntry]:
    """The checkpoint runs of a suite that a condition holds for, as they are at one moment, newest first."""
    found: dict[str, tuple[bool, dict[str, str]]] = {}
    with opened(link, "looking up finished tasks") as source, source.moment():
        asked = (_experiment(link, source, suite), *values)
        for run_id, status in source.ask(_RUNS.format(condition), asked):
            found[run_id] = (status == "FINISHED", {})
        query = _TAGS.format(condition, own=source.begins("t.key", OWN)) + tags_alone
        for run_id, key, value in source.ask(query, asked):  # sorted, they take twice the time
            found[run_id][1][sys.intern(key)] = value
    return [layout.RunEntry(run_id, ended, tags) for run_id, (ended, tags) in found.items() if layout.KEY in tags]


def runs_of_keys(link: MlflowConnection, suite: str, run_keys: Sequence[str]) -> list[layout.RunEntry]:
    """The checkpoint runs of some keys, those of one key newest first: not all need be read to know of some."""
    found = []
    for some in _parts(run_keys):
        found += _entries(link, suite, _OF_KEYS.format(_places(some)), some)
    return found


def pages(link: MlflowConnection, suite: str, digest: SuiteDigest | None = None) -> Iterator[list[RunContent]]:
    """Tags and newest metrics of every checkpoint run of a suite, some hundred runs at a time.

    Args:
        link: The store.
        suite: Which suite.
        digest: Is told what was read, as by `content_digest`.

    Raises:
        TrackingError: the store cannot be read, or the suite's experiment was deleted.
    """
    for ids, tags, metrics in _pages(link, suite, digest):
        yield _contents(ids, tags, metrics)


def contents_of(link: MlflowConnection, run_ids: Sequence[str]) -> list[RunContent]:
    """Tags and newest metrics of some checkpoint runs.

    Raises:
        TrackingError: the store cannot be read, or one of them is not there.
    """
    found: list[RunContent] = []
    with opened(link, "reading results") as source:
        for some in _parts(run_ids):
            found += _contents(some, *_rows_of(source, some))
    if lost := set(run_ids) - {run.run_id for run in found}:
        raise TrackingError(f"run {min(lost)} is not in {link.shown}: ask again for what there is.")
    return found


def content_digest(link: MlflowConnection, suite: str, digest: SuiteDigest) -> str | None:
    """A digest of all that a suite's table is made from, without the table; None where there is none.

    Args:
        link: The store.
        suite: Which suite.
        digest: A new one.

    Raises:
        TrackingError: the store cannot be read, or the suite's experiment was deleted.
    """
    if digest.needs_rows:
        for _ in _pages(link, suite, digest):
            pass
    else:
        with opened(link, "reading results") as source:
            _begin(link, source, suite, digest)
    return digest.text()


def _pages(
    link: MlflowConnection, suite: str, digest: SuiteDigest | None
) -> Iterator[tuple[list[str], list[Tag], list[Value]]]:
    """Run ids, their tags and their newest metrics.

    Each page is of one moment, and those who write a file wait for one page at most.
    """
    with opened(link, "reading results") as source:
        experiment = _begin(link, source, suite, digest)
        ids = [run_id for (run_id,) in source.ask(_IDS, (experiment,))]
        for some in _parts(ids):
            with source.moment():
                tags, metrics = _rows_of(source, some)
            if digest is not None:
                digest.page(some, tags, metrics)
            yield some, tags, metrics


def _begin(link: MlflowConnection, source: SqlSource, suite: str, digest: SuiteDigest | None) -> int | None:
    """The number of a suite's experiment, of which a digest is told."""
    experiment = _experiment(link, source, suite)
    if digest is not None:
        digest.begin(source, experiment, list(_groups(source, experiment)))
    return experiment


def _rows_of(source: SqlSource, run_ids: Sequence[str]) -> tuple[list[Tag], list[Value]]:
    """Tags and metrics of some runs; of those, half are left out, which a task's tags tell, too."""
    places = _places(run_ids)
    tags = source.ask(_TAGS_OF.format(places, own=source.begins("t.key", OWN)), run_ids)
    return list(tags), list(source.ask(_METRICS_OF.format(places, result=is_result(source)), run_ids))


def _parts(values: Sequence[str]) -> Iterator[list[str]]:
    """The values, as many at a time as one statement takes."""
    for start in range(0, len(values), _RUNS_A_PAGE):
        yield [*values[start : start + _RUNS_A_PAGE]]


def _places(values: Sequence[str]) -> str:
    return ",".join("?" * len(values))


def group_tags(link: MlflowConnection, suite: str) -> dict[str, str]:
    """The tags of a suite's experiment that tell of groups of tasks.

    Raises:
        TrackingError: the store cannot be read, or the suite's experiment was deleted.
    """
    with opened(link, "reading groups of tasks") as source:
        return dict(_groups(source, _experiment(link, source, suite)))
    return {}


def _groups(source: SqlSource, experiment: int | None) -> Iterable[Row]:
    return source.ask(_GROUPS.format(source.begins("t.key", GROUP)), (experiment,))


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


def is_active(link: MlflowConnection, run_id: str) -> bool:
    """Whether a run is there and not deleted."""
    with opened(link, "looking up a run") as source:
        query = "SELECT 1 FROM runs WHERE run_uuid = ? AND lifecycle_stage = 'active'"
        return bool(list(source.ask(query, (run_id,))))
    return False


def folders_of(link: MlflowConnection, suite: str) -> list[tuple[str, str | None]]:
    """A suite's runs and the folders of their artifacts; None for one that is not on this machine."""
    with opened(link, "looking up artifacts") as source:
        found = source.ask(_FOLDERS, (_experiment(link, source, suite),))
        return [(run_id, moved.folder_here(uri or "", link.root)) for run_id, uri in found]
    return []


def artifact_folders(link: MlflowConnection, run_ids: Collection[str]) -> dict[str, Path]:
    """Run id -> the folder of its artifacts, for those of these runs that keep them on this machine.

    Raises:
        TrackingError: the store cannot be read.
    """
    found: dict[str, Path] = {}
    with opened(link, "looking up artifacts") as source:
        for some in _parts([*run_ids]):
            query = f"SELECT run_uuid, artifact_uri FROM runs WHERE run_uuid IN ({_places(some)})"
            for run_id, uri in source.ask(query, some):
                if (folder := moved.here(uri or "", link.root)) is not None:
                    found[run_id] = folder
    return found


def _experiment(link: MlflowConnection, source: SqlSource, suite: str) -> int | None:
    """Its number; None where there is none."""
    for number, stage in source.ask(_EXPERIMENT, (suite,)):
        if stage != "active":
            raise link.deleted(suite, number)
        return int(number)
    return None
