"""The artifacts of a checkpoint's run: records, items, and how a file gets its name there."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path

from evalrun.core.errors import StorageError
from evalrun.core.records import TaskResult
from evalrun.tracking.connection import MlflowConnection
from evalrun.tracking.slugs import items_path, task_slug

CONFIG = "config.yaml"  # the artifact that holds the resolved config


def upload(link: MlflowConnection, run_id: str, source: Path, target: str) -> None:
    """Put a file on a run under a path of our choice; MLflow takes the name from the file."""
    folder, _, name = target.rpartition("/")
    if source.name == name:
        link.client.log_artifact(run_id, str(source), folder or None)
        return
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / name
        shutil.copyfile(source, copy)
        link.client.log_artifact(run_id, str(copy), folder or None)


def record_name(result: TaskResult) -> str:
    """The artifact that holds a result's record."""
    return f"results/{task_slug(result.task)}.json"


def record_text(result: TaskResult) -> str:
    """What is in it."""
    return json.dumps(result.to_json(), indent=1)


def items_name(result: TaskResult) -> str:
    """The artifact that holds a result's items."""
    return items_path(result.task)


def check_items(result: TaskResult, path: Path) -> None:
    """Raise StorageError unless the file holds the items that the result was computed from."""
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != result.items_sha256:
        raise StorageError(
            f"the per-item results {path} of task '{result.task}' are missing or not those that were scored; "
            "run the task again with force=true."
        )
