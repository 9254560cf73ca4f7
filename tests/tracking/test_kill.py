"""A process killed anywhere in a delivery: what it left counts for nothing or all, and the next one completes it."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from mlflow import MlflowClient

import forked
from evalrun.tracking import Store

from .conftest import MakeResult

KILLED_DELIVERY = """
import os, pickle, signal, sys
store, results, place = pickle.load(open(sys.argv[1], "rb"))
from evalrun.tracking import bulk, runs
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
owner, name = {
    "before the artifacts": (runs, "_upload"),
    "between artifacts and metrics": (runs, "_log"),
    "between metrics and tags": (SqlAlchemyStore, "_set_tags"),
    "before the end": (runs, "close"),
    "a new run's before the artifacts": (bulk, "_upload"),
    "a new run's between artifacts and rows": (bulk, "_add_datasets"),
}[place]
setattr(owner, name, lambda *args, **kwargs: os.kill(os.getpid(), signal.SIGKILL))
if "new run" in place:
    store.deliver(results, "sweep", "config")
else:  # as a server takes them, and a run that is there already
    runs.deliver(store._link, results, "sweep", "config", runs.create_locked)
"""


@pytest.mark.parametrize(
    ("place", "counts"),
    [
        ("before the artifacts", False),
        ("between artifacts and metrics", False),
        ("between metrics and tags", False),
        ("before the end", True),
        ("a new run's before the artifacts", False),
        ("a new run's between artifacts and rows", False),
    ],
)
def test_a_killed_delivery_is_completed(
    store: Store, make: MakeResult, tmp_path: Path, place: str, counts: bool
) -> None:
    results = [make(), make("hellaswag")]
    order = tmp_path / "order.pickle"
    order.write_bytes(pickle.dumps((store, results, place)))
    killed = forked.python(KILLED_DELIVERY, str(order))
    assert killed.returncode == -9, killed.stderr

    keys = {result.task: result.key for result, _ in results}
    assert store.delivered("pythia", results[0][0].run_key) == (keys if counts else {})
    assert len(store.table("pythia")) == (4 if counts else 0), "a finished task counts even if its run was killed"

    run_id = store.deliver(results, "sweep", "config")
    client = MlflowClient(store.uri)
    (run,) = client.search_runs([client.get_experiment_by_name("pythia").experiment_id])
    assert (run.info.run_id, run.info.status) == (run_id, "FINISHED")
    assert run.data.tags["evalrun.state"] == "complete"
    assert {len(client.get_metric_history(run_id, key)) for key in run.data.metrics} == {1}
    assert len(store.table("pythia")) == 4
    assert len(client.list_artifacts(run_id, "items")) == 2


def test_marking_ends_a_run_that_only_lacked_its_end(store: Store, make: MakeResult, tmp_path: Path) -> None:
    """Whoever finds all tasks delivered does not deliver again, only marks."""
    results = [make()]
    order = tmp_path / "order.pickle"
    order.write_bytes(pickle.dumps((store, results, "before the end")))
    assert forked.python(KILLED_DELIVERY, str(order)).returncode == -9
    client = MlflowClient(store.uri)
    (run,) = client.search_runs([client.get_experiment_by_name("pythia").experiment_id])
    assert run.info.status == "RUNNING"
    store.mark("pythia", results[0][0].run_key, None)
    assert client.get_run(run.info.run_id).info.status == "FINISHED"
