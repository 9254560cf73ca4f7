"""Many results at once: what is there afterwards is what one delivery a checkpoint leaves."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa
from mlflow import MlflowClient

from evalrun.config.schema import TrackingConf
from evalrun.core.records import TaskResult
from evalrun.core.second_process import on_two_cores
from evalrun.errors import StorageError, TrackingError
from evalrun.tracking import Store, bulk, bulk_rows, new_runs

from .conftest import MakeResult, make_cell
from .test_server import address as address  # a fixture

Results = list[tuple[TaskResult, Path | None]]


@pytest.fixture
def twin(tmp_path: Path, template: Path) -> Store:
    """A second fresh store."""
    root = tmp_path / "twin"
    root.mkdir()
    shutil.copyfile(template, root / "mlflow.db")
    return Store(TrackingConf(uri=None, root=str(root)))


@pytest.fixture
def results(make: MakeResult) -> Results:
    """Three checkpoints of two models, awkward names and values, some without items."""
    some: Results = []
    for cell in (make_cell(), make_cell(step=4000), make_cell("pythia-1b", n_params=1_011_781_632, seed=3)):
        some += [make(cell=cell), make("hell a/swag", cell=cell, metrics={"acc": 0.5, "ppl": float("inf")})]
        bare, _ = make("mean", cell=cell, chance=None, stderrs={}, items_sha256="", weights="", seconds=0.0)
        some.append((bare, None))
    return some


def dump(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, and every artifact."""
    with sqlite3.connect(store.uri.removeprefix("sqlite:///")) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = {name: sorted(database.execute(f"SELECT * FROM {name}"), key=repr) for name in names}
    root = Path(store.conf.root)
    files = sorted((str(p.relative_to(root)), p.read_bytes()) for p in (root / "artifacts").rglob("*") if p.is_file())
    return rows | {"artifacts": files}


def read_back(store: Store) -> dict[str, Any]:
    """All that MLflow's client tells, by names that do not depend on ids."""
    client = MlflowClient(store.uri)
    told: dict[str, Any] = {}
    for experiment in client.search_experiments():
        told[experiment.name] = experiment.tags | {"mlflow.note.content": None}  # links by id
        for run in client.search_runs([experiment.experiment_id]):
            info = {key: value for key, value in dict(run.info).items() if key not in _IDS}
            metrics = {m: client.get_metric_history(run.info.run_id, m) for m in run.data.metrics}
            history = {m: [(r.value, r.timestamp, r.step) for r in rows] for m, rows in metrics.items()}
            inputs = run.inputs.to_dictionary()
            data = run.data
            told[f"{experiment.name}: {run.info.run_name}"] = (
                info, data.params, data.tags, data.metrics, history, inputs, run.info.artifact_uri.count("/"),
            )  # fmt: skip
    return told


_IDS = ("run_id", "run_uuid", "experiment_id", "artifact_uri")


def raw_runs(store: Store) -> list[dict[str, Any]]:
    with sqlite3.connect(store.uri.removeprefix("sqlite:///")) as database:
        table = pd.read_sql("SELECT * FROM runs ORDER BY name, start_time", database)
    return table.drop(columns=["run_uuid", "experiment_id", "artifact_uri"]).astype(object).to_dict("records")


def test_what_it_leaves_is_what_single_deliveries_leave(store: Store, twin: Store, results: Results) -> None:
    twin.deliver_many(results)
    for key in {result.run_key for result, _ in results}:
        store.deliver([pair for pair in results if pair[0].run_key == key], None, None)
    for each in (store, twin):
        each.rebuild_curves("pythia")
    assert read_back(twin) == read_back(store)
    assert [repr(row) for row in raw_runs(twin)] == [repr(row) for row in raw_runs(store)]
    pd.testing.assert_frame_equal(
        twin.table("pythia").drop(columns="run_id"), store.table("pythia").drop(columns="run_id")
    )
    for key in {result.run_key for result, _ in results}:
        assert twin.delivered("pythia", key) == store.delivered("pythia", key) == twin.delivered_all("pythia")[key]


def test_more_tasks_than_one_request_takes(store: Store, twin: Store, make: MakeResult) -> None:
    many: Results = [make(f"task {i}", metrics={f"m{k}": k + i / 100 for k in range(20)}) for i in range(60)]
    twin.deliver_many(many)
    store.deliver(many, None, None)
    ours, theirs = (MlflowClient(s.uri) for s in (twin, store))
    (one,), (other,) = (c.search_runs([c.get_experiment_by_name("pythia").experiment_id]) for c in (ours, theirs))
    assert (one.data.metrics, one.data.params, one.data.tags) == (
        other.data.metrics,
        other.data.params,
        other.data.tags,
    )


def test_again_adds_nothing_and_deliveries_of_both_kinds_know_each_other(store: Store, results: Results) -> None:
    store.deliver_many(results)
    before = dump(store)
    store.deliver_many(results)
    for pair in results:
        store.deliver([pair], None, None)
    assert dump(store) == before


def test_a_task_joins_a_run_that_is_there(store: Store, make: MakeResult) -> None:
    store.deliver_many([make()])
    store.deliver_many([make(), make("hellaswag")])
    assert set(store.delivered_all("pythia")["run-pythia-70m-2000-None"]) == {"memo_trap", "hellaswag"}
    assert len(store.delivered_all("pythia")) == 1


@pytest.fixture(params=[1, 2])
def cores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, store: Store) -> Iterator[int]:
    """How many there are: with two, a process beside this one writes the rows."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(request.param)))
    with on_two_cores(), store.written_beside():
        yield request.param


@pytest.mark.usefixtures("cores")
def test_the_artifacts(store: Store, results: Results, tmp_path: Path) -> None:
    store.deliver_many(results)
    client = MlflowClient(store.uri)
    for run in client.search_runs([client.get_experiment_by_name("pythia").experiment_id]):
        mine = [pair for pair in results if pair[0].run_key == run.data.tags["evalrun.run_key"]]
        records = json.loads(
            Path(client.download_artifacts(run.info.run_id, "results.json", str(tmp_path))).read_text()
        )
        assert [TaskResult.from_json(record) for record in records] == [result for result, _ in mine]
        items = [file.path for file in client.list_artifacts(run.info.run_id, "items")]
        assert len(items) == sum(path is not None for _, path in mine) == 2


@pytest.mark.usefixtures("cores")
def test_a_disk_that_has_no_room_for_files_leaves_no_run(
    store: Store, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(new_runs, "_put", put)
        with pytest.raises(TrackingError, match="no space left"):
            store.deliver_many(results)
    assert store.table("pythia").empty
    store.deliver_many(results)
    assert len(store.delivered_all("pythia")) == 3


def test_many_transactions_beside_leave_what_one_here_leaves(
    cores: int, store: Store, twin: Store, results: Results, make: MakeResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    more: Results = [(make(cell=make_cell(step=step))[0], None) for step in range(100, 120)]
    twin.deliver_many(results + more)
    monkeypatch.setattr(bulk, "_RUNS_A_TRANSACTION", 2)
    monkeypatch.setattr(bulk, "_RUNS_A_LOCK", 15)
    with monkeypatch.context() as here:
        if cores == 2:  # it would be forked with these
            here.setattr(bulk_rows, "write", lambda *_: pytest.fail("this process writes"))
        store.deliver_many(results + more)
        assert dump(store)["artifacts"] == dump(twin)["artifacts"]
        added = make("hellaswag", cell=more[3][0].cell, run_key=more[3][0].run_key)
        store.deliver_many([*more, added])  # a run that is there takes another task
    twin.deliver_many([*more, added])
    assert read_back(store) == read_back(twin)
    assert [repr(row) for row in raw_runs(store)] == [repr(row) for row in raw_runs(twin)]


@pytest.mark.usefixtures("cores")
@pytest.mark.parametrize("runs_a_lock", [2, 100])
def test_several_suites_in_one_delivery_are_what_one_after_the_other_leaves(
    runs_a_lock: int, store: Store, twin: Store, make: MakeResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("pythia", "a b", "a-b", "zoo")  # two of them with one name for their lock, in no order
    mine: dict[str, Results] = {
        suite: [make(task, make_cell(suite=suite, step=step), run_key=f"{suite}-{step}", key=f"{suite}-{step}-{task}")
                for step in range(1, 4) for task in ("memo_trap", "hellaswag")]
        for suite in names
    }  # fmt: skip
    for suite in sorted(names):
        twin.deliver_many(mine[suite])
    monkeypatch.setattr(bulk, "_RUNS_A_TRANSACTION", 2)
    monkeypatch.setattr(bulk, "_RUNS_A_LOCK", runs_a_lock)
    store.deliver_many(mine["zoo"][:1])  # it lacks a task of what is delivered below
    store.deliver_many([pair for suite in names for pair in mine[suite]])
    for suite in names:
        columns = ["run_id"]
        pd.testing.assert_frame_equal(store.table(suite).drop(columns=columns), twin.table(suite).drop(columns=columns))
    assert len(raw_runs(store)) == len(raw_runs(twin)) == 12


def test_a_database_without_room_is_said_by_who_writes_it(
    store: Store, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    with monkeypatch.context() as broken, on_two_cores():
        broken.setattr(bulk_rows, "insert_values", full)
        with store.written_beside(), pytest.raises(TrackingError, match="^no space left on the disk of .*mlflow.db"):
            store.deliver_many(results)
    assert store.table("pythia").empty
    store.deliver_many(results)
    assert len(store.delivered_all("pythia")) == 3


@pytest.mark.usefixtures("cores")
def test_items_that_are_not_those_that_were_scored_are_refused(store: Store, make: MakeResult) -> None:
    result, path = make()
    path.write_bytes(b"other")
    with pytest.raises(StorageError, match="memo_trap"):
        store.deliver_many([(result, path)])
    assert store.table("pythia").empty


def test_a_deleted_run_is_filed_again(store: Store, make: MakeResult) -> None:
    store.deliver_many([make()])
    client = MlflowClient(store.uri)
    (run,) = client.search_runs([client.get_experiment_by_name("pythia").experiment_id])
    client.delete_run(run.info.run_id)
    assert store.delivered_all("pythia") == {}
    store.deliver_many([make()])
    assert len(store.table("pythia")) == 2


def test_what_fails_leaves_no_run(store: Store, results: Results) -> None:
    """The last insert fails: no run is there at all, and the next delivery is whole, in the same folders."""
    engine = store._link.client._tracking_client.store.engine

    def fail(connection: Any, cursor: Any, text: str, *rest: Any) -> None:
        if text.startswith("INSERT INTO latest_metrics"):
            raise sqlite3.OperationalError("database or disk is full")

    sa.event.listen(engine, "before_cursor_execute", fail)
    with pytest.raises(TrackingError, match="no space left"):
        store.deliver_many(results)
    sa.event.remove(engine, "before_cursor_execute", fail)
    assert store.table("pythia").empty
    store.deliver_many(results)
    assert len(list((Path(store.conf.root) / "artifacts" / "pythia").iterdir())) == 3


@contextmanager
def commits(store: Store) -> Iterator[list[str]]:
    """Every SQL transaction that is committed meanwhile, and the statements that write."""
    seen: list[str] = []
    engine = store._link.client._tracking_client.store.engine

    def commit(connection: Any) -> None:
        seen.append("commit")

    def statement(connection: Any, cursor: Any, text: str, *rest: Any) -> None:
        if text.startswith(("INSERT", "UPDATE", "DELETE")):
            seen.append(text.split("(")[0])

    sa.event.listen(engine, "commit", commit)
    sa.event.listen(engine, "before_cursor_execute", statement)
    try:
        yield seen
    finally:
        sa.event.remove(engine, "commit", commit)
        sa.event.remove(engine, "before_cursor_execute", statement)


def test_the_number_of_transactions_does_not_grow_with_the_runs(store: Store, make: MakeResult) -> None:
    """Counted, not timed: 7 statements that write for each 500 runs, and a handful of transactions."""
    bare = [make(cell=make_cell(step=step), items_sha256="")[0] for step in range(1, 602)]
    store.deliver_many([(bare[0], None)])  # makes the experiment
    with commits(store) as seen:
        store.deliver_many([(result, None) for result in bare[1:101]])
    writes, small = [text for text in seen if text != "commit"], seen.count("commit")
    assert len(writes) == 7, writes  # the datasets are there
    with commits(store) as seen:
        store.deliver_many([(result, None) for result in bare[101:]])
    assert seen.count("commit") == small < 12
    assert len([text for text in seen if text != "commit"]) == 7
    with commits(store) as seen:
        store.deliver_many([(result, None) for result in bare])
    assert set(seen) <= {"commit"}
    assert seen.count("commit") < 6


@pytest.mark.slow
def test_through_a_server(address: str, results: Results, store: Store, tmp_path: Path) -> None:
    remote = Store(TrackingConf(uri=address, root=str(tmp_path / "client")))
    remote.deliver_many(results)
    assert len(remote.delivered_all("pythia")) == 3
    table = remote.table("pythia")
    remote.deliver_many(results)
    pd.testing.assert_frame_equal(remote.table("pythia"), table)
