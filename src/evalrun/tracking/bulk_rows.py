"""The rows of many new runs at once, written into MLflow's own tables through its own models and session.

They are those that its client would have made: a test compares all that the client reads back, and pyproject.toml pins
MLflow's minor version.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_RUN_NAME
from mlflow.utils.uri import append_to_uri_path

from evalrun.core.plain_names import slug
from evalrun.tracking import datasets, layout, run_making, runs, sql_reader
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
    insert_missing,
    insert_values,
    session,
    set_tags,
)
from evalrun.tracking.new_runs import ID, NewRun, RunPlace

_IDS_A_STATEMENT = 900  # old SQLites take 999 values


def place_of(link: MlflowConnection, suite: str) -> RunPlace:
    """Where the runs of a suite go; its experiment is made."""
    experiment = link.experiment(suite, create=True, kind="checkpoints")
    folder = append_to_uri_path(experiment.artifact_location, ID, "artifacts")
    return RunPlace(str(experiment.experiment_id), folder, run_making.known_sizes(experiment.tags))


def taken(link: MlflowConnection, run_ids: Sequence[str]) -> set[str]:
    """Those of some ids that a run has, deleted ones included: MLflow keeps those."""
    found: set[str] = set()
    with session(link.client, read_only=True) as opened:
        for start in range(0, len(run_ids), _IDS_A_STATEMENT):
            some = run_ids[start : start + _IDS_A_STATEMENT]
            found.update(opened.scalars(sa.select(SqlRun.run_uuid).where(SqlRun.run_uuid.in_(some))))
    return found


def write(link: MlflowConnection, place: RunPlace, new: Sequence[NewRun]) -> None:
    """All rows of new runs in one transaction; what is killed before its end leaves none of them."""
    with session(link.client, read_only=False) as opened:
        insert_runs(opened.connection(), place, new)


def insert_runs(connection: sa.Connection, place: RunPlace, new: Sequence[NewRun]) -> None:
    """All rows of new runs, in a transaction that has written no runs yet."""
    if not new:
        return
    rows: Rows = {table: [] for table in COLUMNS}
    for run in new:
        rows[SqlRun].append(
            finished_run(run.run_id, run.name, run.artifacts, place.experiment_id, run.started, run.ended)
        )
        tags = {**run.tags, MLFLOW_RUN_NAME: run.name}
        rows[SqlTag] += [(run.run_id, key, text) for key, text in tags.items()]
        rows[SqlParam] += [(run.run_id, key, text) for key, text in run.params.items()]
        rows[SqlMetric] += [(run.run_id, key, value, run.ended, run.step, False) for key, value in run.metrics.items()]
    _add_datasets(connection, rows, place, new)
    metrics = rows.pop(SqlMetric)
    insert(connection, rows)
    insert_values(connection, metrics)


def _add_datasets(connection: sa.Connection, rows: Rows, place: RunPlace, new: Iterable[NewRun]) -> None:
    """What `mlflow.log_inputs` would have written: each dataset of an experiment once, and its use by each run."""
    number = int(place.experiment_id)
    used = {(data.name, data.digest): data for run in new for data in run.used}
    there = _datasets(connection, number)
    if missing := sorted(used.keys() - there.keys()):  # in one order, so that no two processes wait for each other
        insert_missing(
            connection,
            SqlDataset,
            [
                (uuid.uuid4().hex, number, *name, data.source_type, data.source, None, data.profile)
                for name, data in ((name, used[name]) for name in missing)
            ],
            SqlDataset.name,
        )
        there = _datasets(connection, number)  # another process may have been faster
    for run in new:
        for data in run.used:
            use = uuid.uuid4().hex
            rows[SqlInput].append((use, "DATASET", there[data.name, data.digest], "RUN", run.run_id))
            rows[SqlInputTag].append((use, MLFLOW_DATASET_CONTEXT, datasets.CONTEXT))


def _datasets(connection: sa.Connection, experiment: int) -> dict[tuple[str, str], str]:
    """Name and digest -> id."""
    data = SqlDataset.__table__.c
    known = sa.select(data.name, data.digest, data.dataset_uuid).where(data.experiment_id == experiment)
    return {(name, digest): number for name, digest, number in connection.execute(known)}


def deliver(link: MlflowConnection, results: layout.Delivery, sweep: str | None, config_yaml: str | None) -> str:
    """File results of one checkpoint as MLflow's client does: what is not simply new."""
    return runs.deliver(link, results, sweep, config_yaml, runs.create_locked)


def mark(link: MlflowConnection, suite: str, run_keys: Iterable[str], sweep: str) -> None:
    """Note for many runs that a sweep wanted them; those that are marked already are not touched (`Store.mark_all`)."""
    with link.lock(f"runs-{slug(suite)}"):  # each sweep adds itself to a list of them
        new = runs.sweep_marks(link, layout.by_key(sql_reader.runs(link, suite)), run_keys, sweep)
        set_tags(link.client, new)
