"""A database's table, read by SQL, and a file's curves, written many at a time: what MLflow's client says."""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient

from evalrun.core.second_process import on_two_cores
from evalrun.core.task_group import TaskGroup
from evalrun.errors import TrackingError
from evalrun.tracking import Store, curve_runs, file_stamp, results_table
from evalrun.tracking.backends import backend_of
from evalrun.tracking.connection import MlflowConnection
from evalrun.tracking.database_backend import DatabaseBackend
from evalrun.tracking.file_backend import FileBackend
from evalrun.tracking.read_beside import read_suites

from .conftest import MakeResult, make_cell


@pytest.fixture
def uneven(store: Store, make: MakeResult) -> Store:
    """Missing cells, seeds, no finite value, two settings, twins, a deleted run, half a run, an older version's."""
    pairs = []
    for step in (0, 1, 1000):
        for seed in (None, 1, 2):
            for task in ("memo_trap", "neqa") if step or seed else ("neqa",):
                metrics = {"acc": math.nan if (step, seed) == (1, 2) else step / 2e3 + 0.1, "f1": math.inf}
                pairs.append(make(task, make_cell(step=step, seed=seed), metrics=metrics))
    for step in (1, 1000):
        other = {"settings": {"scorer": "lm_eval", "dtype": "float16"}, "key": f"other-{step}", "run_key": f"o-{step}"}
        pairs.append(make("memo_trap", make_cell("pythia-1b", step, 1_011_781_632), **other))
    store.deliver_many(pairs)
    first = make("neqa", make_cell("twin", 7), key="one", run_key="a", finished_ms=5)
    store.deliver([first], "first", None)
    store.deliver([(replace(first[0], run_key="b", finished_ms=9), first[1])], "second", None)
    client = MlflowClient(store.uri)
    client.delete_run(store.deliver([make("neqa", make_cell("gone", 7))], None, None))
    half = store.deliver([make("neqa", make_cell("half", 7)), make("memo_trap", make_cell("half", 7))], None, None)
    client.delete_tag(half, "evalrun.task.neqa")
    old = store.deliver([make("neqa", make_cell("old", 7))], None, None)
    about = json.loads(client.get_run(old).data.tags["evalrun.about.neqa"])
    kept = {key: value for key, value in about.items() if key not in ("role", "lower", "disputed")}
    client.set_tag(old, "evalrun.about.neqa", json.dumps(kept | {"of_a_later_version": 1}))
    return store


def as_a_server(store: Store) -> DatabaseBackend:
    """The same store, read as one that a database's server keeps: by SQLAlchemy."""
    link = MlflowConnection(store.uri, Path(store.conf.root), 5.0)
    link.database = None
    return DatabaseBackend(link)


@pytest.mark.parametrize("sweep", [None, "first", "second", "none"])
def test_the_file_and_a_database_say_what_the_client_says(uneven: Store, sweep: str | None) -> None:
    by_client = results_table.read(uneven._link, "pythia").of(sweep)
    pd.testing.assert_frame_equal(uneven.table("pythia", sweep), by_client, check_exact=True)
    pd.testing.assert_frame_equal(as_a_server(uneven).table("pythia").of(sweep), by_client, check_exact=True)
    assert by_client.empty == (sweep == "none")


def test_a_database_answers_all_that_a_file_does(uneven: Store, make: MakeResult) -> None:
    uneven.deliver([make("neqa", make_cell(step=9, suite="zeta"))], None, None)
    uneven.groups.record("pythia", {"both": TaskGroup("both", "Both", ("memo_trap", "neqa"))})
    file, server = FileBackend(uneven._link), as_a_server(uneven)
    assert server.suites() == file.suites() == ["pythia", "zeta"]
    for suite in ("pythia", "zeta", "nothing"):
        assert server.runs(suite) == file.runs(suite)
        assert server.runs(suite, "a") == file.runs(suite, "a")
        assert server.looks(suite) == file.looks(suite)
        assert server.group_tags(suite) == file.group_tags(suite)
        assert server.experiment_id(suite) == file.experiment_id(suite)
    ids = [run.run_id for run in file.runs("pythia")]
    assert len(file.group_tags("pythia")) == 1 < len(ids)
    assert server.artifact_folders(ids[:3]) == file.artifact_folders(ids[:3])
    assert server.artifact_folders(ids[:3]).keys() == {*ids[:3]}
    some = file.table_of(ids[:3]).rows
    pd.testing.assert_frame_equal(server.table_of(ids[:3]).rows, some, check_exact=True)
    assert not some.empty
    for backend in (file, server):
        with pytest.raises(TrackingError, match="run gone is not in sqlite:"):
            backend.table_of([ids[0], "gone"])
    MlflowClient(uneven.uri).delete_experiment(str(file.experiment_id("zeta")))
    for backend in (file, server):
        assert backend.suites() == ["pythia"]
        with pytest.raises(TrackingError, match="'zeta' was deleted"):
            backend.runs("zeta")


def test_a_database_without_tables_is_empty_and_stays_so(tmp_path: Path) -> None:
    link = MlflowConnection(f"sqlite:///{tmp_path}/new.db", tmp_path, 5.0)
    assert link.database is not None
    file, link.database = link.database, None
    server = DatabaseBackend(link)
    server.check_readable()
    assert (server.suites(), server.runs("pythia"), server.group_tags("pythia")) == ([], [], {})
    assert server.table("pythia").rows.empty
    assert server.experiment_id("pythia") is None
    with sqlite3.connect(file) as database:
        assert database.execute("SELECT name FROM sqlite_master").fetchall() == []
    database.close()


READING = """
import sys
from pathlib import Path
from evalrun.tracking.connection import MlflowConnection
from evalrun.tracking.database_backend import DatabaseBackend
from evalrun.tracking.file_backend import FileBackend
link = MlflowConnection(sys.argv[1], Path(sys.argv[2]), 5.0)
assert FileBackend(link).runs("pythia") and not FileBackend(link).table("pythia").rows.empty
assert not {"sqlalchemy", "mlflow"} & set(sys.modules)
link.database = None
assert DatabaseBackend(link).runs("pythia") and not DatabaseBackend(link).table("pythia").rows.empty
assert "mlflow" not in sys.modules
"""


def test_reading_a_file_needs_no_sqlalchemy_and_a_database_no_mlflow(store: Store, make: MakeResult) -> None:
    store.deliver([make()], None, None)
    subprocess.run([sys.executable, "-c", READING, store.uri, store.conf.root], check=True)


def test_a_table_that_others_wrote_into_is_read_again(uneven: Store, make: MakeResult) -> None:
    before = uneven.read("pythia")
    assert file_stamp.stamp(uneven._link) == before.stamp
    Store(uneven.conf).deliver([make("neqa", make_cell(step=2000), metrics={"acc": 0.77})], None, None)
    assert file_stamp.stamp(uneven._link) != before.stamp
    uneven.rebuild_curves("pythia", None, before)
    assert 0.77 in {value for value, *_ in _curves(uneven)["pythia-70m (shared_prefix float32)"]["acc/neqa"]}


def test_a_table_is_as_new_while_others_write_nothing(uneven: Store, make: MakeResult) -> None:
    """Curves that this process's own client wrote are no reason to read again; whatever else is written is one."""
    early, state = uneven.read("pythia"), uneven.state()
    assert state is not None
    state.watch()
    before = uneven.read("pythia")
    uneven.rebuild_curves("pythia", None, before)
    now = file_stamp.stamp(uneven._link)
    assert now != before.stamp == early.stamp
    assert state.refreshed(before).stamp == now == state.refreshed(early).stamp
    assert state.refreshed(replace(early, stamp="another", since=0.0)).stamp == "another"  # written before the watch
    with sqlite3.connect(uneven._link.database) as database:
        database.execute("UPDATE tags SET value = 'zzz' WHERE key = 'evalrun.settings'")
    database.close()
    assert state.refreshed(before) is before
    assert uneven.read("pythia").digest != before.digest


@pytest.mark.parametrize("where", [contextlib.nullcontext, on_two_cores])
def test_suites_are_read_in_turn_while_something_else_is_done(
    uneven: Store, make: MakeResult, where: Callable[[], contextlib.AbstractContextManager[None]]
) -> None:
    uneven.deliver([make("neqa", make_cell(step=9, suite="zeta"))], None, None)
    done: list[str] = []
    with where():
        found = dict(read_suites(uneven, ["zeta", "pythia", "nothing"], lambda: done.append("once")))
    assert done == ["once"]
    assert list(found) == ["zeta", "pythia", "nothing"]
    for suite, table in found.items():
        pd.testing.assert_frame_equal(table.rows, uneven.read(suite).rows, check_exact=True)
        assert table.digest == uneven.read(suite).digest
    assert found["nothing"].rows.empty


def test_a_tag_that_a_person_edits_is_seen(uneven: Store) -> None:
    before = uneven.read("pythia").stamp
    with sqlite3.connect(uneven._link.database) as database:
        database.execute("UPDATE tags SET value = 'zzz' WHERE key = 'evalrun.settings'")
    database.close()
    assert file_stamp.stamp(uneven._link) != before
    assert set(uneven.table("pythia")["settings"]) == {"zzz"}


def _curves(store: Store) -> dict[str, dict[str, list[tuple[float, int, int]]]]:
    client = MlflowClient(store.uri)
    found = {}
    for run in client.search_runs([client.get_experiment_by_name("pythia-curves").experiment_id]):
        points = {}
        for key, latest in run.data.metrics.items():
            history = client.get_metric_history(run.info.run_id, key)
            points[key] = [(metric.value, metric.timestamp, metric.step) for metric in history]
            assert latest == history[-1].value
        found[run.info.run_name] = points
    return found


def _runs(store: Store, experiment: str) -> list[dict[str, Any]]:
    client = MlflowClient(store.uri)
    runs = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return sorted(
        ({**dict(run.info), "data": run.data.to_dictionary()} for run in runs), key=lambda run: str(run["run_name"])
    )


def test_curves_in_bulk_are_those_of_the_client(uneven: Store) -> None:
    """Both ways on one store, the second after the first one's lines were deleted."""
    link = uneven._link

    def read() -> pd.DataFrame:
        return results_table.read(link, "pythia").of()

    curve_runs.rebuild(link, "pythia", read, curve_runs.ClientWriter(link), ("first", "evalrun -m x"))
    by_client, runs, checkpoints = _curves(uneven), _runs(uneven, "pythia-curves"), _runs(uneven, "pythia")
    uneven.rebuild_curves("pythia")
    assert _runs(uneven, "pythia-curves") == runs  # nothing changed: nothing is written
    client = MlflowClient(uneven.uri)
    for run in runs:
        client.delete_run(run["run_id"])
    for run in checkpoints:  # as they were before the command was noted and the colours were known
        client.set_tag(run["run_id"], "mlflow.runColor", "#000000")
        if "evalrun.command" in run["data"]["tags"]:
            client.delete_tag(run["run_id"], "evalrun.command")
            note = run["data"]["tags"]["mlflow.note.content"].partition("\n\nMade by")[0]
            client.set_tag(run["run_id"], "mlflow.note.content", note)
    experiment = client.get_experiment_by_name("pythia").experiment_id
    client.delete_experiment_tag(experiment, "evalrun.sizes")
    backend_of(link).rebuild_curves("pythia", None, ("first", "evalrun -m x"))
    assert _curves(uneven) == by_client
    assert _runs(uneven, "pythia") == checkpoints
    its_own = ("run_id", "run_uuid", "artifact_uri")
    for before, after in zip(runs, _runs(uneven, "pythia-curves"), strict=True):
        assert {k: v for k, v in after.items() if k not in its_own} == {
            k: v for k, v in before.items() if k not in its_own
        }
        assert after["artifact_uri"] == before["artifact_uri"].replace(before["run_id"], after["run_id"])
