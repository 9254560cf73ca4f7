"""Several processes that deliver the same results at the same moment: one run a checkpoint, with all of it, once."""

from __future__ import annotations

import contextlib
import json
import pickle
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException

from evalrun.config.schema import TrackingConf
from evalrun.tracking import Store, claims

from .conftest import MakeResult, make_cell
from .test_server import address as address  # a fixture

DELIVERY = """
import pickle, sys
store, deliveries, many = pickle.load(open(sys.argv[1], "rb"))
store.suites()  # connected
print("ready", flush=True)
sys.stdin.readline()
if many:
    store.deliver_many([pair for results in deliveries for pair in results])
else:
    for results in deliveries:
        store.deliver(results, "sweep", "config")
"""


def deliver_together(stores: list[Store], deliveries: list[object], tmp_path: Path, many: list[bool]) -> None:
    """One process for each store, all at the same moment: none begins before all are ready, however long that takes."""
    processes = []
    for number, (store, bulk) in enumerate(zip(stores, many, strict=True)):
        order = tmp_path / f"order-{number}.pickle"
        order.write_bytes(pickle.dumps((store, deliveries, bulk)))
        command = [sys.executable, "-c", DELIVERY, str(order)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        processes.append(subprocess.Popen(command, text=True, **pipes))
    for process in processes:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said == "ready\n", (said, process.communicate()[1])
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        _, said = process.communicate(timeout=480)
        assert process.returncode == 0, said


def check_once(client: MlflowClient, deliveries: list[list[tuple[object, Path]]]) -> None:
    experiment = client.get_experiment_by_name("pythia").experiment_id
    runs = client.search_runs([experiment])
    assert Counter(run.data.tags["evalrun.run_key"] for run in runs) == {
        results[0][0].run_key: 1 for results in deliveries
    }
    for run in runs:
        assert run.info.status == "FINISHED"
        assert run.data.tags["evalrun.state"] == "complete"
        assert {tag for tag in run.data.tags if tag.startswith("evalrun.task.")} == {
            "evalrun.task.memo_trap",
            "evalrun.task.hellaswag",
        }
        assert {len(client.get_metric_history(run.info.run_id, key)) for key in run.data.metrics} == {1}
        assert len(client.list_artifacts(run.info.run_id, "items")) == 2


@pytest.mark.slow
def test_hosts_that_share_a_server_make_one_run(address: str, make: MakeResult, tmp_path: Path) -> None:
    """Each process has a root of its own, as hosts have: no file lock is common to them."""
    cells = [make_cell(step=step) for step in range(1, 11)]
    deliveries = [[make(cell=cell), make("hellaswag", cell=cell)] for cell in cells]
    hosts = [Store(TrackingConf(uri=address, root=str(tmp_path / f"host{i}"))) for i in range(5)]
    deliver_together(hosts, deliveries, tmp_path, [False] * 4 + [True])
    said = (tmp_path / "server.log").read_text()
    assert '" 5' not in said, "to a status of 500 or more a client comes back, each time later"
    client = MlflowClient(address)
    check_once(client, deliveries)
    anchors = [e for e in client.search_experiments() if e.name.startswith(claims.EXPERIMENT)]
    assert [experiment.name for experiment in anchors] == [claims.EXPERIMENT]
    assert hosts[0].suites() == ["pythia"]


@pytest.mark.slow
def test_a_job_and_a_bulk_delivery_into_one_file_make_one_run(store: Store, make: MakeResult, tmp_path: Path) -> None:
    """The lock is beside the database, wherever the roots are."""
    deliveries = [[make(cell=cell), make("hellaswag", cell=cell)] for cell in (make_cell(step=s) for s in range(1, 11))]
    stores = [store] + [Store(TrackingConf(uri=store.uri, root=str(tmp_path / f"root{i}"))) for i in range(3)]
    deliver_together(stores, deliveries, tmp_path, [False, False, True, True])
    check_once(MlflowClient(store.uri), deliveries)


@pytest.fixture
def remote(address: str, tmp_path: Path) -> Store:
    return Store(TrackingConf(uri=address, root=str(tmp_path / "client")))


@pytest.mark.slow
def test_the_draft_of_a_killed_process_does_not_stay(store: Store, remote: Store, make: MakeResult) -> None:
    """One that another process may be about to rename does: deleted under its hands, it would wait for minutes."""
    client = MlflowClient(remote.uri)
    old, new = (client.create_experiment(f"{claims.EXPERIMENT}-{name}") for name in ("old", "new"))
    with contextlib.closing(sqlite3.connect(store.uri.removeprefix("sqlite:///"))) as database, database:
        database.execute("UPDATE experiments SET creation_time = creation_time - 600000 WHERE experiment_id = ?", [old])
    remote.deliver([make()], "s", "c")
    names = {experiment.name for experiment in client.search_experiments()}
    assert claims.EXPERIMENT in names
    assert f"{claims.EXPERIMENT}-old" not in names
    assert f"{claims.EXPERIMENT}-new" in names
    with pytest.raises(MlflowException, match="UNIQUE"):  # refused at once
        client.rename_experiment(new, claims.EXPERIMENT)


@pytest.mark.slow
def test_a_run_whose_maker_ended_before_its_tags_is_taken_over(remote: Store, make: MakeResult) -> None:
    result = make()
    remote.deliver([make(cell=make_cell(step=1))], "s", "c")  # makes the experiments
    client = MlflowClient(remote.uri)
    experiment = client.get_experiment_by_name("pythia")
    key = result[0].run_key
    owner, orphan = (client.create_run(experiment.experiment_id, tags={"evalrun.claim": key}) for _ in range(2))
    anchor = client.get_experiment_by_name(claims.EXPERIMENT).tags["evalrun.anchor"]
    client.log_param(anchor, f"{key}.1", owner.info.run_id)
    assert remote.deliver([result], "s", "c") == owner.info.run_id
    assert client.get_run(orphan.info.run_id).info.lifecycle_stage == "deleted"
    assert len(remote.table("pythia")) == 4


@pytest.mark.slow
def test_a_run_that_was_deleted_can_be_made_again(remote: Store, make: MakeResult) -> None:
    result = make()
    first = remote.deliver([result], "s", "c")
    client = MlflowClient(remote.uri)
    client.delete_run(first)
    second = remote.deliver([result], "s", "c")
    assert second != first
    assert remote.deliver([result], "s", "c") == second
    experiment = client.get_experiment_by_name("pythia").experiment_id
    active = client.search_runs([experiment], run_view_type=ViewType.ACTIVE_ONLY)
    assert [run.info.run_id for run in active] == [second]


@pytest.mark.parametrize("through", ["file", "server"])
@pytest.mark.slow
def test_marking_many_touches_only_what_is_not_marked(
    store: Store, remote: Store, make: MakeResult, through: str
) -> None:
    here = store if through == "file" else remote
    keys = []
    for step in range(1, 5):
        results = [make(cell=make_cell(step=step))]
        here.deliver(results, "first", None)
        keys.append(results[0][0].run_key)
    here.mark_all("pythia", [*keys[:3], "unknown"], "second")
    client = MlflowClient(here.uri)
    experiment = client.get_experiment_by_name("pythia").experiment_id

    def tags() -> dict[str, tuple[str, list[str]]]:
        runs = client.search_runs([experiment])
        return {
            run.data.tags["evalrun.run_key"]: (
                run.data.tags["evalrun.sweep"],
                json.loads(run.data.tags["evalrun.sweeps"]),
            )
            for run in runs
        }

    both = ("second", ["first", "second"])
    assert tags() == {keys[0]: both, keys[1]: both, keys[2]: both, keys[3]: ("first", ["first"])}
    assert set(here.table("pythia", sweep="second")["step"]) == {1, 2, 3}
    run = client.search_runs([experiment], filter_string="params.step = '1'")[0]
    client.set_tag(run.info.run_id, "evalrun.state", "delivering")  # as a killed delivery leaves it
    here.mark_all("pythia", keys, "second")
    assert client.get_run(run.info.run_id).data.tags["evalrun.state"] == "complete"
    assert list(tags().values()) == [both] * 4
