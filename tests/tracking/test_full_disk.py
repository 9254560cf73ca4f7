"""A disk that fills up in a delivery: it is said, nothing half-written counts, and space is all that it takes."""

from __future__ import annotations

import pytest
import sqlalchemy
from mlflow import MlflowClient

from evalrun.errors import TrackingError
from evalrun.tracking import Store

from .conftest import MakeResult, make_cell


def test_a_database_without_room(store: Store, make: MakeResult) -> None:
    """SQLite itself is told how many pages there are."""
    room = [0]

    def limit(connection: sqlalchemy.Connection, *_: object) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one() + room[0]
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    store.deliver([make()], None, "")
    sqlalchemy.event.listen(sqlalchemy.engine.Engine, "begin", limit)
    more = [make(f"task {number}", cell=make_cell(step=4000)) for number in range(200)]
    try:
        with pytest.raises(TrackingError, match=r"^no space left on the disk of .*mlflow.db while delivering results"):
            store.deliver(more, None, "")
        assert store.table("pythia")["step"].unique().tolist() == [2000]
        room[0] = 10_000
        store.deliver(more, None, "")
    finally:
        sqlalchemy.event.remove(sqlalchemy.engine.Engine, "begin", limit)
    assert store.table("pythia")["task"].nunique() == 201
    client = MlflowClient(store.uri)
    runs = client.search_runs([client.get_experiment_by_name("pythia").experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]
