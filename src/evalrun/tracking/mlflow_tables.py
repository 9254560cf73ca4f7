"""MLflow's own tables and its session on them, for what is written many rows at a time; see `mlflow_private`."""

from __future__ import annotations

from typing import Any

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
    "session",
]


def session(client: Any, read_only: bool) -> Any:
    """One transaction of a client on a database, committed at its end."""
    return client._tracking_client.store.ManagedSessionMaker(read_only=read_only)
