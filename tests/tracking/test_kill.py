"""A process killed anywhere in a delivery: what it left counts for nothing or all, and the next one completes it."""

from __future__ import annotations

import pickle
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

import forked
from evalrun.tracking import Store

from .conftest import MakeResult, make_cell

KILLED_DELIVERY = """
import os, pickle, signal, sys
store, results, place = pickle.load(open(sys.argv[1], "rb"))
from evalrun.tracking import bulk_rows, new_runs, runs
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
owner, name = {
    "before the artifacts": (runs, "_upload"),
    "between artifacts and metrics": (runs, "_log"),
    "between metrics and tags": (SqlAlchemyStore, "_set_tags"),
    "before the end": (runs, "close"),
    "a new run's before the artifacts": (new_runs, "_put"),
    "a new run's between artifacts and rows": (bulk_rows, "_add_datasets"),
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


KILLED_WITH_A_WRITER = """
import os, pickle, signal, sys
from evalrun.core import second_process
from evalrun.tracking import bulk, new_runs
store, results = pickle.load(open(sys.argv[1], "rb"))
os.sched_getaffinity = lambda _: {0, 1}
bulk._RUNS_A_TRANSACTION = 2
upload, left = new_runs.upload, [9]
def upload_or_die(*args):
    left[0] -= 1
    if not left[0]:
        print(store._backend._writer._helper._process.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    upload(*args)
new_runs.upload = upload_or_die
with second_process.on_two_cores(), store.written_beside():
    store.deliver_many(results)
"""


def test_what_is_killed_with_a_writer_beside_leaves_whole_runs(store: Store, make: MakeResult, tmp_path: Path) -> None:
    """Killed while it makes the ninth of ten runs, two a transaction: the writer ends, no run is there by half."""
    cells = [make_cell(step=step) for step in range(10)]
    results = [make(task, cell) for cell in cells for task in ("memo_trap", "hellaswag")]
    order = tmp_path / "order.pickle"
    order.write_bytes(pickle.dumps((store, results)))
    killed = forked.python(KILLED_WITH_A_WRITER, str(order))
    assert killed.returncode == -9, killed.stderr
    ended_by = time.monotonic() + 20
    while Path(f"/proc/{killed.stdout.strip()}/stat").exists() and time.monotonic() < ended_by:
        time.sleep(0.05)
    assert not Path(f"/proc/{killed.stdout.strip()}/stat").exists()

    there = store.filed("pythia")
    assert len(there) in (1, 3, 5, 7)  # the first, of one, was waited for before the fourth was asked for
    assert all(run.ended and len(run.tasks) == 2 for run in there.values())
    assert len(store.table("pythia")) == 4 * len(there)
    store.deliver_many(results)
    assert len(store.filed("pythia")) == 10
    client = MlflowClient(store.uri)
    for run in store.filed("pythia").values():
        assert len(client.list_artifacts(run.run_id, "items")) == 2


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
