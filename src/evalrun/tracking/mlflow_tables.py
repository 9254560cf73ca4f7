"""MLflow's own tables and its session on them, for what is written many rows at a time; see `mlflow_private`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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
from sqlalchemy.dialects import sqlite

# A run before what refers to it.
TABLES = (SqlRun, SqlTag, SqlParam, SqlMetric, SqlLatestMetric, SqlDataset, SqlInput, SqlInputTag)

__all__ = [
    "TABLES",
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
    "session",
    "set_tags",
]
_CACHE_KB = 200_000
_ROWS_A_STATEMENT = 300  # of three values each; old SQLites take 999


def session(client: Any, read_only: bool) -> Any:
    """One transaction of a client on a database, committed at its end."""
    return client._tracking_client.store.ManagedSessionMaker(read_only=read_only)


def finished_run(run_id: str, name: str, folder: str, experiment_id: str, start_ms: int, end_ms: int) -> dict[str, Any]:
    """The row of a run that has ended, as MLflow's client leaves it; times in Unix milliseconds."""
    return {
        "run_uuid": run_id,
        "name": name,
        "artifact_uri": folder,
        "experiment_id": int(experiment_id),
        "source_type": SourceType.to_string(SourceType.UNKNOWN),
        "source_name": "",
        "entry_point_name": "",
        "user_id": "unknown",
        "status": RunStatus.to_string(RunStatus.FINISHED),
        "start_time": start_ms,
        "end_time": end_ms,
        "source_version": "",
        "lifecycle_stage": LifecycleStage.ACTIVE,
    }


def insert(opened: Any, rows: Mapping[Any, Sequence[Mapping[str, Any]]]) -> None:
    """Insert new rows of MLflow's models into a SQLite file, in a session; rows of one model have the same columns.

    They go to SQLite as they are: of a hundred thousand, SQLAlchemy's own way with parameters is a third of the time.
    """
    connection = opened.connection()
    connection.exec_driver_sql(
        f"PRAGMA cache_size = -{_CACHE_KB}"
    )  # of this connection: indexes need not be read again and again
    for model in TABLES:
        if some := rows.get(model):
            table, names = model.__table__, list(some[0])
            quoted = ", ".join(f'"{table.columns[name].name}"' for name in names)
            statement = f"INSERT INTO {table.name} ({quoted}) VALUES ({', '.join('?' * len(names))})"
            connection.exec_driver_sql(statement, [tuple(row[name] for name in names) for row in some])


def set_tags(client: Any, tags: Mapping[str, Mapping[str, str]]) -> None:
    """Set tags of many runs of a SQLite file: run id -> key -> text."""
    rows = [{"run_uuid": run_id, "key": k, "value": text} for run_id, new in tags.items() for k, text in new.items()]
    for start in range(0, len(rows), _ROWS_A_STATEMENT):
        some = rows[start : start + _ROWS_A_STATEMENT]
        with session(client, read_only=False) as opened:
            opened.execute(sqlite.insert(SqlTag.__table__).values(some).prefix_with("OR REPLACE"))
