"""MLflow's own tables and its session on them, for what is written many rows at a time; see `mlflow_private`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import sqlalchemy as sa
from mlflow.entities import LifecycleStage, RunStatus, SourceType
from mlflow.store.tracking.dbmodels.models import (
    SqlDataset,
    SqlInput,
    SqlInputTag,
    SqlLatestMetric,
    SqlMetric,
    SqlParam,
    SqlRun,
    SqlTag,
)

_TEXTS = ("run_uuid", "key", "value")
_VALUES = ("run_uuid", "key", "value", "timestamp", "step", "is_nan")
# What a row of `Rows` holds, in its order; a run before what refers to it.
COLUMNS: dict[Any, tuple[str, ...]] = {
    SqlRun: (
        *("run_uuid", "name", "artifact_uri", "experiment_id", "source_type", "source_name", "entry_point_name"),
        *("user_id", "status", "start_time", "end_time", "source_version", "lifecycle_stage"),
    ),
    SqlTag: _TEXTS,
    SqlParam: _TEXTS,
    SqlMetric: _VALUES,
    SqlLatestMetric: _VALUES,
    SqlDataset: (
        *("dataset_uuid", "experiment_id", "name", "digest", "dataset_source_type", "dataset_source"),
        *("dataset_schema", "dataset_profile"),
    ),
    SqlInput: ("input_uuid", "source_type", "source_id", "destination_type", "destination_id"),
    SqlInputTag: ("input_uuid", "name", "value"),
}
Rows = dict[Any, list[tuple[Any, ...]]]  # MLflow's model -> rows, as COLUMNS says

__all__ = [
    "COLUMNS",
    "Rows",
    "SqlDataset",
    "SqlInput",
    "SqlInputTag",
    "SqlLatestMetric",
    "SqlMetric",
    "SqlParam",
    "SqlRun",
    "SqlTag",
    "finished_run",
    "insert",
    "insert_missing",
    "insert_values",
    "session",
    "set_tags",
    "transaction",
]
_CACHE_KB = 50_000


def session(client: Any, read_only: bool) -> Any:
    """One transaction of a client on a database, committed at its end."""
    return client._tracking_client.store.ManagedSessionMaker(read_only=read_only)


def transaction(client: Any) -> AbstractContextManager[sa.Connection]:
    """One transaction of a client on a database, committed at its end; errors in the block stay what they are."""
    begun: AbstractContextManager[sa.Connection] = client._tracking_client.store.engine.begin()
    return begun


def finished_run(
    run_id: str, name: str, folder: str, experiment_id: str, start_ms: int, end_ms: int
) -> tuple[Any, ...]:
    """The row of a run that has ended, as MLflow's client leaves it; times in Unix milliseconds."""
    place = run_id, name, folder, int(experiment_id), SourceType.to_string(SourceType.UNKNOWN), "", "", "unknown"
    return *place, RunStatus.to_string(RunStatus.FINISHED), start_ms, end_ms, "", LifecycleStage.ACTIVE


def insert(connection: sa.Connection, rows: Rows) -> None:
    """Insert new rows of MLflow's models into a database, in a transaction.

    To SQLite they go as they are: of a hundred thousand, SQLAlchemy's own way with parameters is a third of the time.
    """
    is_file = connection.dialect.name == "sqlite"
    if is_file:
        # Each row is of a run that comes before it here: to look that up for each is a tenth of the time. MLflow
        # switches it on again for every session.
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
        # Of this connection: indexes need not be read again and again.
        connection.exec_driver_sql(f"PRAGMA cache_size = -{_CACHE_KB}")
    for model in COLUMNS:
        some = rows.get(model)
        if some and is_file:
            connection.exec_driver_sql(_statement(model, "INSERT"), some)
        elif some:
            connection.execute(sa.insert(model.__table__), _by_name(model, some))


def insert_missing(connection: sa.Connection, model: Any, rows: Sequence[tuple[Any, ...]], told: Any) -> Sequence[Any]:
    """Insert those rows of a model that are not there, into SQLite or PostgreSQL; returns a column of the new ones.

    Where another transaction of PostgreSQL's is inserting one of them, it is waited for.
    """
    from sqlalchemy.dialects import postgresql, sqlite

    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    new = dialect.insert(model.__table__).on_conflict_do_nothing().returning(told)
    return connection.scalars(new, _by_name(model, rows)).all()


def insert_values(connection: sa.Connection, metrics: Sequence[tuple[Any, ...]]) -> None:
    """Insert the only values of metrics of new runs, rows of SqlMetric: they are their latest, as SQL is told."""
    metric, latest = SqlMetric.__table__, SqlLatestMetric.__table__
    columns = [metric.c[name] for name in _VALUES]
    if connection.dialect.name == "sqlite":
        before = connection.exec_driver_sql(f"SELECT max(rowid) FROM {metric.name}").scalar() or 0
        connection.exec_driver_sql(_statement(SqlMetric, "INSERT"), list(metrics))
        newer = sa.select(*columns).where(sa.literal_column("rowid") > before)
    else:
        connection.execute(sa.insert(metric), _by_name(SqlMetric, metrics))
        newer = sa.select(*columns).where(metric.c.run_uuid.in_({row[0] for row in metrics}))
    connection.execute(sa.insert(latest).from_select(_VALUES, newer))


def set_tags(client: Any, tags: Mapping[str, Mapping[str, str]]) -> None:
    """Set tags of many runs of a database: run id -> key -> text."""
    rows = [(run_id, key, text) for run_id, new in tags.items() for key, text in new.items()]
    if not rows:
        return
    with session(client, read_only=False) as opened:
        connection = opened.connection()
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql(_statement(SqlTag, "INSERT OR REPLACE"), rows)
        else:
            given = _by_name(SqlTag, sorted(rows))  # two writers wait, and do not lock
            connection.execute(_tag_anew(connection.dialect.name), given)


def _tag_anew(dialect: str) -> Any:
    """The statement that inserts a tag, or replaces the one of its run and key."""
    from sqlalchemy.dialects import mysql, postgresql

    if dialect == "postgresql":
        new = postgresql.insert(SqlTag.__table__)
        return new.on_conflict_do_update(index_elements=["key", "run_uuid"], set_={"value": new.excluded.value})
    replaced = mysql.insert(SqlTag.__table__)
    return replaced.on_duplicate_key_update(value=replaced.inserted.value)


def _statement(model: Any, verb: str) -> str:
    places = ", ".join("?" * len(COLUMNS[model]))
    return f"{verb} INTO {model.__table__.name} ({_names(model)}) VALUES ({places})"


def _by_name(model: Any, rows: Iterable[tuple[Any, ...]]) -> list[dict[str, Any]]:
    return [dict(zip(COLUMNS[model], row, strict=True)) for row in rows]


def _names(model: Any) -> str:
    return ", ".join(f'"{model.__table__.columns[name].name}"' for name in COLUMNS[model])
