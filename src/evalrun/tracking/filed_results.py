"""Reading back whole results: records, items and configs, as they were delivered to runs."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from evalrun.core.records import TaskResult
from evalrun.tracking import run_files
from evalrun.tracking.backends import backend_of
from evalrun.tracking.connection import MlflowConnection
from evalrun.tracking.layout import RunEntry

log = logging.getLogger(__name__)
_TOGETHER = "results.json"  # the records of a run that was filed in bulk


@dataclass(frozen=True)
class FiledRun:
    """A checkpoint's run with all that it keeps."""

    entry: RunEntry
    results: list[tuple[TaskResult, Path | None]]  # each with its file of items; None where only the results are known
    config_yaml: str | None
    lacking: list[str]  # tasks whose record is not among its artifacts, or is another's


def whole_runs(link: MlflowConnection, entries: Sequence[RunEntry]) -> Iterator[FiledRun]:
    """Runs one after the other; what a server keeps is downloaded, and is there until the next is asked for.

    Args:
        link: The store.
        entries: Which runs.

    Raises:
        TrackingError: the server fails.
    """
    folders = backend_of(link).artifact_folders({entry.run_id for entry in entries})
    for entry in entries:
        if entry.run_id in folders:
            yield _read_run(entry, folders[entry.run_id])
            continue
        with tempfile.TemporaryDirectory(prefix="evalrun-run-") as scratch:
            with link.guard("downloading a run's results"):
                link.client.download_artifacts(entry.run_id, "", scratch)
            yield _read_run(entry, Path(scratch))


def _read_run(entry: RunEntry, folder: Path) -> FiledRun:
    """What the artifacts of a run, in this folder, hold of its tasks."""
    records = _records(folder)
    found: list[tuple[TaskResult, Path | None]] = []
    lacking = []
    for task, key in entry.tasks.items():
        result = records.get(key)
        if result is None:
            lacking.append(task)
            continue
        items = folder / run_files.items_name(result)
        found.append((result, items if items.is_file() else None))
    config = folder / "config.yaml"
    return FiledRun(entry, found, config.read_text() if config.is_file() else None, lacking)


def _records(folder: Path) -> dict[str, TaskResult]:
    """The records among a run's artifacts, by key; what cannot be read is said."""
    found: dict[str, TaskResult] = {}
    for path in [*sorted((folder / "results").glob("*.json")), folder / _TOGETHER]:
        if not path.is_file():
            continue
        try:
            said = json.loads(path.read_text())
            for one in said if isinstance(said, list) else [said]:
                result = TaskResult.from_json(one)
                found[result.key] = result
        except (OSError, ValueError, TypeError, KeyError) as error:
            log.warning("the record %s cannot be read (%s)", path, error)
    return found
