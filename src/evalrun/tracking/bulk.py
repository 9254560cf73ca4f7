"""Many checkpoints at once: what `runs.deliver` does for one, for thousands, in a transaction for some hundred runs.

MLflow's client takes 100 ms for a run of twelve tasks, which for thousands is minutes. So new runs are written into
MLflow's own tables, through its own models and session, as rows that its client would have made: a test compares all
that the client reads back, and pyproject.toml pins MLflow's minor version. The ordinary way is for what is not simply
new, and for every store but a SQLite file (`server_backend`): only beside a file does a lock keep two processes apart.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa
from mlflow.entities import LifecycleStage, Run, RunData, RunInfo, RunTag
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME
from mlflow.utils.uri import append_to_uri_path

from evalrun.core.plain_names import slug
from evalrun.core.records import TaskResult
from evalrun.core.second_process import beside
from evalrun.tracking import datasets, layout, run_files, run_values, runs, sqlite_reader
from evalrun.tracking.connection import MlflowConnection
from evalrun.tracking.mlflow_tables import (
    COLUMNS,
    Rows,
    SqlDataset,
    SqlInput,
    SqlInputTag,
    SqlMetric,
    SqlParam,
    SqlRun,
    SqlTag,
    finished_run,
    insert,
    insert_values,
    session,
    set_tags,
)
from evalrun.tracking.sweep_tags import sweep_tags

_RUNS_A_TRANSACTION = 1000  # bounds memory, and how long others wait: some 150,000 rows, a second
_PAYS = 100  # runs from which on a second process writes their files
_json = json.JSONEncoder().encode


def mark(link: MlflowConnection, suite: str, run_keys: Iterable[str], sweep: str) -> None:
    """Note for many runs that a sweep wanted them; those that are marked already are not touched (`Store.mark_all`)."""
    with link.lock(f"runs-{slug(suite)}"):  # each sweep adds itself to a list of them
        new = runs.sweep_marks(link, layout.by_key(sqlite_reader.runs(link, suite)), run_keys, sweep)
        set_tags(link.client, new)


def deliver_one(link: MlflowConnection, results: layout.Delivery, sweep: str | None, config_yaml: str | None) -> str:
    """File the results of one checkpoint; a run that a file does not hold yet takes one transaction, not a dozen."""
    first = results[0][0] if results else None
    if first is not None and len({(one.run_key, one.cell) for one, _ in results}) == 1:
        experiment = link.experiment(first.cell.suite, create=True, kind="checkpoints")
        with link.lock(f"runs-{slug(first.cell.suite)}"):
            if not sqlite_reader.runs(link, first.cell.suite, first.run_key):
                origins = {first.run_key: layout.Origin(sweep, config_yaml)}
                return _write(link, experiment, [results], [first.cell.n_params], origins)[0]
    return runs.deliver(link, results, sweep, config_yaml, runs.create_locked)


def deliver(link: MlflowConnection, results: layout.Delivery, origins: Mapping[str, layout.Origin]) -> None:
    """File results of any number of checkpoints, thousands in seconds; what it leaves is what `deliver` leaves."""
    suites: dict[str, dict[str, list[tuple[TaskResult, Path | None]]]] = defaultdict(lambda: defaultdict(list))
    for result, path in results:
        suites[result.cell.suite][result.run_key].append((result, path))
    for suite, groups in suites.items():
        there = _write_fresh(link, suite, groups, origins)
        for key, group in groups.items():
            if key in there and not there[key].holds(result for result, _ in group):
                origin = origins.get(key, layout.Origin())
                runs.deliver(link, group, origin.sweep, origin.config_yaml, runs.create_locked)


def _write_fresh(
    link: MlflowConnection, suite: str, groups: Mapping[str, layout.Delivery], origins: Mapping[str, layout.Origin]
) -> dict[str, layout.RunEntry]:
    """Write the runs that are not there yet; returns those that were there."""
    sizes = {group[0][0].cell.n_params for group in groups.values()}
    there: dict[str, layout.RunEntry] = {}
    # In the order of ids MLflow's indexes grow at a few places, and not a page of them for each run.
    todo = sorted(groups.items(), key=lambda item: _id_of(item[0]))
    for start in range(0, len(todo), _RUNS_A_TRANSACTION):
        # Two processes that both find a run absent would both write it: the lock is the one of `runs.deliver`.
        with link.lock(f"runs-{slug(suite)}"):
            some = todo[start : start + _RUNS_A_TRANSACTION]
            there |= layout.by_key(sqlite_reader.runs_of_keys(link, suite, [key for key, _ in some]))
            fresh = [group for key, group in some if key not in there]
            if fresh:
                experiment = link.experiment(suite, create=True, kind="checkpoints")
                _write(link, experiment, fresh, sizes, origins)
    return there


def _write(
    link: MlflowConnection,
    experiment: Any,
    groups: Sequence[layout.Delivery],
    sizes: Iterable[int],
    origins: Mapping[str, layout.Origin],
) -> list[str]:
    """New runs: their artifacts first, then all rows in one transaction; what is killed before it leaves no run.

    Returns:
        Their ids.
    """
    newest = [_newest(group) for group in groups]
    rows: Rows = {table: [] for table in COLUMNS}
    ids = _new_ids(link, [group[0][0].run_key for group in newest])
    folders = [append_to_uri_path(experiment.artifact_location, run_id, "artifacts") for run_id in ids]
    known = [origins.get(group[0][0].run_key) for group in newest]
    with beside(partial(_upload_all, folders, newest, known), stays_here=len(ids) < _PAYS) as uploaded:
        for run_id, folder, group, origin in zip(ids, folders, newest, known, strict=True):
            _add_rows(rows, experiment, run_id, folder, [result for result, _ in group], sizes, origin)
        uploaded()
    with session(link.client, read_only=False) as opened:
        _add_datasets(opened, rows, experiment, zip(ids, newest, strict=True))
        metrics = rows.pop(SqlMetric)
        insert(opened, rows)
        insert_values(opened, metrics)
    return ids


def _add_datasets(opened: Any, rows: Rows, experiment: Any, filed: Iterable[tuple[str, layout.Delivery]]) -> None:
    """What `mlflow.log_inputs` would have written: each dataset of an experiment once, and its use by each run."""
    number = int(experiment.experiment_id)
    known = sa.select(SqlDataset).where(SqlDataset.experiment_id == number)
    there = {(data.name, data.digest): data.dataset_uuid for data in opened.scalars(known)}
    for run_id, group in filed:
        for used in datasets.inputs_of(result for result, _ in group):
            data, use = used.dataset, uuid.uuid4().hex
            if (data.name, data.digest) not in there:
                there[data.name, data.digest] = uuid.uuid4().hex
                named = there[data.name, data.digest], number, data.name, data.digest
                rows[SqlDataset].append((*named, data.source_type, data.source, data.schema, data.profile))
            rows[SqlInput].append((use, "DATASET", there[data.name, data.digest], "RUN", run_id))
            rows[SqlInputTag] += [(use, tag.key, tag.value) for tag in used.tags]


def _newest(group: layout.Delivery) -> layout.Delivery:
    """Each task once, as in runs.deliver."""
    return list({pair[0].task: pair for pair in sorted(group, key=lambda pair: pair[0].finished_ms)}.values())


def _new_ids(link: MlflowConnection, run_keys: Sequence[str]) -> list[str]:
    """Ids that follow from the keys, so that a second try finds the folders of a killed one; others if taken."""
    ids = [_id_of(key) for key in run_keys]
    with session(link.client, read_only=True) as opened:  # taken by a run that was deleted: MLflow keeps those
        taken = set(opened.scalars(sa.select(SqlRun.run_uuid).where(SqlRun.run_uuid.in_(ids))))
    return [uuid.uuid4().hex if run_id in taken else run_id for run_id in ids]


def _id_of(run_key: str) -> str:
    return hashlib.sha256(run_key.encode()).hexdigest()[:32]


def _upload_all(
    folders: Sequence[str], groups: Sequence[layout.Delivery], origins: Sequence[layout.Origin | None]
) -> None:
    """The artifacts of some runs."""
    for folder, group, origin in zip(folders, groups, origins, strict=True):
        _upload(folder, group, origin)


def _upload(folder: str, group: layout.Delivery, origin: layout.Origin | None) -> None:
    """All artifacts of a run in one go: the items, and the records; in one file where nothing else is known of them."""
    place = urlsplit(folder)
    if place.scheme == "file":  # on this machine: nothing needs to be made elsewhere first, and taken away again
        _put(Path(unquote(place.path)), group, origin)
        return
    with tempfile.TemporaryDirectory() as scratch:
        _put(Path(scratch), group, origin)
        get_artifact_repository(folder).log_artifacts(scratch)


def _put(folder: Path, group: layout.Delivery, origin: layout.Origin | None) -> None:
    """The artifacts as files of a folder."""
    os.makedirs(folder, exist_ok=True)
    for name, text in _texts(group, origin).items():
        with open(_target(folder, name), "w", encoding="utf-8") as file:
            file.write(text)
    for result, path in group:
        if path is not None:
            run_files.check_items(result, path)
            shutil.copyfile(path, _target(folder, run_files.items_name(result)))


def _target(folder: Path, name: str) -> Path:
    """Where an artifact goes; its folder is made."""
    target = folder / name
    if "/" in name:
        target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _texts(group: layout.Delivery, origin: layout.Origin | None) -> dict[str, str]:
    if origin is None:
        records = [_json(result.to_json()) for result, _ in group]  # one a line: half the time of indented JSON
        return {"results.json": "[" + ",\n ".join(records) + "]\n"}
    texts = {run_files.record_name(result): run_files.record_text(result) for result, _ in group}
    return texts if origin.config_yaml is None else texts | {runs.CONFIG: origin.config_yaml}


def _add_rows(
    rows: Rows,
    experiment: Any,
    run_id: str,
    folder: str,
    results: Sequence[TaskResult],
    sizes: Iterable[int],
    origin: layout.Origin | None,
) -> None:
    """What MLflow's client would have written for a run that holds these results and is complete."""
    first, stamp = results[0], max(result.finished_ms for result in results)
    started, tags, name = runs.opening(experiment, first, sizes)
    values, more = runs.content(_blank(run_id, experiment, tags), results)
    tags |= {MLFLOW_RUN_NAME: name} | more | {layout.STATE: "complete"}
    tags |= sweep_tags({}, None if origin is None else origin.sweep)
    rows[SqlRun].append(finished_run(run_id, name, folder, experiment.experiment_id, started, stamp))
    rows[SqlTag] += [(run_id, key, text) for key, text in tags.items()]
    rows[SqlParam] += [(run_id, key, text) for key, text in run_values.params_of(first).items()]
    rows[SqlMetric] += [(run_id, key, value, stamp, first.cell.step, False) for key, value in values.items()]


def _blank(run_id: str, experiment: Any, tags: Mapping[str, str]) -> Run:
    info = RunInfo(run_id, experiment.experiment_id, "unknown", "RUNNING", 0, None, LifecycleStage.ACTIVE)
    return Run(info, RunData(tags=[RunTag(key, value) for key, value in tags.items()]))
