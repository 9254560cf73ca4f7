"""Runs that are not there yet, made ready to be written: their rows, and their artifacts as files."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from evalrun.core.records import TaskResult
from evalrun.tracking import datasets, layout, run_files, run_making, run_values
from evalrun.tracking.datasets import UsedData
from evalrun.tracking.sweep_tags import sweep_tags

ID = "{run}"  # in the place of artifacts
_json = json.JSONEncoder().encode


@dataclass(frozen=True)
class RunPlace:
    """Where runs of a suite go."""

    experiment_id: str
    artifacts: str  # the URI of a run's artifacts, with ID for the run's
    sizes: frozenset[int]  # parameters of the suite's models, as far as they are known


@dataclass(frozen=True)
class NewRun:
    """What MLflow's client would have written for a run that is complete; times in Unix milliseconds."""

    run_id: str
    name: str
    artifacts: str  # URI
    started: int
    ended: int
    step: int
    tags: dict[str, str]  # the name aside
    params: dict[str, str]
    metrics: dict[str, float]
    used: list[UsedData]


def make(place: RunPlace, run_id: str, results: Sequence[TaskResult], origin: layout.Origin | None) -> NewRun:
    """A run that holds these results, all of one checkpoint and each of another task."""
    first = results[0]
    started, tags, name = run_making.opening(first, place.sizes)
    metrics, more = run_making.content(tags, {}, results)
    sweep = None if origin is None else origin.sweep
    return NewRun(
        run_id=run_id,
        name=name,
        artifacts=place.artifacts.replace(ID, run_id),
        started=started,
        ended=max(result.finished_ms for result in results),
        step=first.cell.step,
        tags=tags | more | {layout.STATE: "complete"} | sweep_tags({}, sweep),
        params=run_values.params_of(first),
        metrics=metrics,
        used=datasets.used_by(results),
    )


def upload(artifacts: str, group: layout.Delivery, origin: layout.Origin | None) -> None:
    """All artifacts of a run in one go: the items, and the records; in one file where nothing else is known of them.

    Args:
        artifacts: The URI of the run's.
        group: Its results, with their items.
        origin: Where they come from, where that is known.

    Raises:
        StorageError: the items are not those that were scored.
        OSError: as the system says it.
    """
    place = urlsplit(artifacts)
    if place.scheme == "file":  # on this machine: nothing needs to be made elsewhere first, and taken away again
        _put(unquote(place.path), group, origin)
        return
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    with tempfile.TemporaryDirectory() as scratch:
        _put(scratch, group, origin)
        get_artifact_repository(artifacts).log_artifacts(scratch)


def _put(folder: str, group: layout.Delivery, origin: layout.Origin | None) -> None:
    """The artifacts as files of a folder."""
    try:
        os.mkdir(os.path.dirname(folder))  # that of its suite is mostly there
        os.mkdir(folder)
    except OSError:
        os.makedirs(folder, exist_ok=True)
    for name, text in _texts(group, origin).items():
        with open(_target(folder, name), "wb") as file:
            file.write(text.encode())
    for result, path in group:
        if path is not None:
            run_files.check_items(result, path)
            shutil.copyfile(path, _target(folder, run_files.items_name(result)))


def _target(folder: str, name: str) -> str:
    """Where an artifact goes; its folder is made."""
    target = f"{folder}/{name}"
    if "/" in name:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
    return target


def _texts(group: layout.Delivery, origin: layout.Origin | None) -> dict[str, str]:
    if origin is None:
        records = [_json(result.to_json()) for result, _ in group]  # one a line: half the time of indented JSON
        return {"results.json": "[" + ",\n ".join(records) + "]\n"}
    texts = {run_files.record_name(result): run_files.record_text(result) for result, _ in group}
    return texts if origin.config_yaml is None else texts | {run_files.CONFIG: origin.config_yaml}
