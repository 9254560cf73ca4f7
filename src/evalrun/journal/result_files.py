"""The journal: every result as an atomic pair of files in the job's folder, written before anything else happens.

`results/<task>-<key>.parquet` holds the items, `results/<task>-<key>.json` the record; the record is written last
and names the items' sha256, so that a record that can be read and matches is a result that is whole. The config of a
checkpoint and its settings is kept beside them, so that results can be delivered from the journal alone.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from evalrun.core.atomic import replace_file
from evalrun.core.errors import StorageError
from evalrun.core.records import TaskResult

log = logging.getLogger(__name__)
FOLDER = "results"


canonical = json.JSONEncoder(sort_keys=True).encode  # made once: ingest asks for hundreds of thousands


def digest(content: Any) -> str:
    """Sha256 of plain content by its canonical JSON."""
    return digest_of_text(canonical(content))


def digest_of_text(text: str) -> str:
    """Sha256 of plain content that is canonical JSON already."""
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a job's folder: two processes at the same checkpoint would do the same work twice.

    Raises:
        StorageError: the folder cannot be written.
    """
    with _storage_errors(folder):
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("waiting: another process is at work in %s", folder)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def write(folder: Path, result: TaskResult, items: bytes) -> None:
    """Add one result; after this returns it survives anything but the disk.

    Raises:
        StorageError: no space, or the folder cannot be written.
    """
    with _storage_errors(folder):
        replace_file(items_path(folder, result), items, durable=True)
    write_record(folder, result)


def write_record(folder: Path, result: TaskResult) -> None:
    """Add a result whose items are there already, or are kept nowhere.

    Raises:
        StorageError: no space, or the folder cannot be written.
    """
    with _storage_errors(folder):
        replace_file(record_path(folder, result), json.dumps(result.to_json(), indent=1), durable=True)


def read(folder: Path) -> dict[str, TaskResult]:
    """All whole results of a job's folder, by key; what is damaged is set aside and said."""
    found: dict[str, TaskResult] = {}
    for path in sorted((folder / FOLDER).glob("*.json")):
        result = record_of(path)
        if result is not None and is_whole(folder, result):
            found[result.key] = result
        else:
            log.warning("%s is damaged and will be computed again (kept as %s.damaged)", path, path.name)
            path.replace(path.with_name(path.name + ".damaged"))
    return found


def latest(folder: Path) -> dict[str, int]:
    """Task -> when its latest result in a job's folder was computed, Unix time in milliseconds."""
    found: dict[str, int] = {}
    for path in (folder / FOLDER).glob("*.json"):
        if (result := record_of(path)) is not None:
            found[result.task] = max(found.get(result.task, 0), result.finished_ms)
    return found


def record_of(path: Path) -> TaskResult | None:
    """What a record says, or None where it cannot be read."""
    try:
        return TaskResult.from_json(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def is_whole(folder: Path, result: TaskResult) -> bool:
    """Whether a result's items are there, and those that its record names."""
    try:
        return hashlib.sha256(items_path(folder, result).read_bytes()).hexdigest() == result.items_sha256
    except OSError:
        return False


def write_config(folder: Path, run_key: str, config_yaml: str) -> None:
    """Keep the resolved config that the results of a run key come from; the latest stays.

    Raises:
        StorageError: no space, or the folder cannot be written.
    """
    if config_of(folder, run_key) != config_yaml:
        with _storage_errors(folder):
            replace_file(_config_path(folder, run_key), config_yaml, durable=True)


def config_of(folder: Path, run_key: str) -> str | None:
    """The config kept with the results of a run key, or None."""
    try:
        return _config_path(folder, run_key).read_text()
    except (OSError, ValueError):
        return None


def _config_path(folder: Path, run_key: str) -> Path:
    return folder / FOLDER / f"config-{run_key[:12]}.yaml"


def record_name(task: str, key: str) -> str:
    """The file name of a result's record."""
    return f"{task.replace('/', '_')}-{key[:12]}.json"


def record_path(folder: Path, result: TaskResult) -> Path:
    """Where a result's record is."""
    return folder / FOLDER / record_name(result.task, result.key)


def items_path(folder: Path, result: TaskResult) -> Path:
    """Where a result's items are."""
    return record_path(folder, result).with_suffix(".parquet")


@contextmanager
def _storage_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise StorageError(
                f"no space left on the disk under '{folder}': free some and run the same again."
            ) from None
        raise StorageError(f"'{folder}' cannot be written ({error.strerror}): check the folder, run again.") from None
