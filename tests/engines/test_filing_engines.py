"""Results filed into PostgreSQL by SQL: as by MLflow's client, whoever files too and whoever is killed."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa
from mlflow import MlflowClient

from evalrun.config.schema import TrackingConf
from evalrun.core.records import TaskResult
from evalrun.errors import StorageError, TrackingError
from evalrun.tracking import Store, bulk_claimed, bulk_rows, claims, layout
from evalrun.tracking.server_backend import ServerBackend
from tracking.conftest import make_cell, make_result
from tracking.test_claims import check_once, deliver_together

from .engines import Postgres

pytestmark = pytest.mark.engines

Results = list[tuple[TaskResult, Path | None]]
# Ids are drawn or follow from the key, times are those of the clock, places are those of the store.
DRAWN = {
    "runs": ["artifact_uri"],
    "experiments": ["artifact_location", "creation_time", "last_update_time"],
    "inputs": ["input_uuid", "source_id"],
    "datasets": ["dataset_uuid"],
}
KILLED = """
import os, pickle, signal, sys
import sqlalchemy as sa
from evalrun.tracking import bulk_claimed

store, results, statement, count = pickle.load(open(sys.argv[1], "rb"))
bulk_claimed._RUNS_A_TRANSACTION = 2
seen = []

def after(connection, cursor, text, *rest):
    seen.append(text)
    if sum(one.startswith(statement) for one in seen) == count:
        os.kill(os.getpid(), signal.SIGKILL)

sa.event.listen(sa.engine.Engine, "after_cursor_execute", after)
store.deliver_many(results)
"""


def of_steps(folder: Path, *steps: int) -> list[Results]:
    """Two tasks of each checkpoint."""
    cells = [make_cell(step=step) for step in steps]
    return [[make_result(folder, "hellaswag", cell), make_result(folder, "memo_trap", cell)] for cell in cells]


def flat(deliveries: Sequence[Results]) -> Results:
    return [pair for results in deliveries for pair in results]


def rows(store: Store) -> dict[str, list[str]]:
    """Every row of every table, runs by their names."""
    engine = sa.create_engine(store._link.uri)
    tables = {name: pd.read_sql_table(name, engine) for name in sa.inspect(engine).get_table_names()}
    engine.dispose()
    runs, data = tables["runs"], tables["datasets"]
    experiments = dict(zip(tables["experiments"]["experiment_id"], tables["experiments"]["name"], strict=True))
    names = dict(zip(runs["run_uuid"], runs["experiment_id"].map(experiments) + runs["name"], strict=True))
    names |= dict(zip(data["dataset_uuid"], data["name"] + data["digest"], strict=True))
    inputs = tables["inputs"]
    inputs["used"] = inputs["source_id"].map(names) + inputs["destination_id"].map(names)
    names |= dict(zip(inputs["input_uuid"], inputs["used"], strict=True))
    is_claims = tables["runs"]["name"] == "claims"
    tables["runs"].loc[is_claims, "start_time"] = 0
    found = {}
    for name, table in tables.items():
        told = table.drop(columns=DRAWN.get(name, [])).replace(names).astype(object)
        if "experiment_id" in told:
            told["experiment_id"] = told["experiment_id"].replace(experiments)
        found[name] = sorted(map(repr, told.to_dict("records")))
    return found


def artifacts(store: Store) -> list[Any]:
    """Of each run its results, its items and its config."""
    entries = sorted(store.filed("pythia").values(), key=lambda entry: entry.run_key)
    return [
        (
            sorted((repr(one.to_json()), path and path.read_bytes()) for one, path in run.results),
            run.config_yaml,
            run.lacking,
        )
        for run in store.whole_runs(entries)
    ]


def awkward(folder: Path) -> Results:
    """Several tasks, with data or without, names and values that need care, some without items."""
    found: Results = []
    for cell in (make_cell(), make_cell(step=4000), make_cell("pythia-1b", n_params=1_011_781_632, seed=3)):
        found += [
            make_result(folder, cell=cell),
            make_result(folder, "hell a/swag \\ 'ü'\t%s", cell, metrics={"acc": 1 / 3, "ppl": float("inf")}),
            make_result(folder, "small", cell, metrics={"acc": 5e-324, "big": 1.7e308, "nan": float("nan")}),
        ]
        bare, _ = make_result(
            folder, "mean", cell, chance=None, stderrs={}, items_sha256="", weights="", seconds=0.0, title="{a: b}, \\N"
        )
        found.append((bare, None))
    return found


@pytest.fixture
def place(postgres: Postgres, tmp_path: Path) -> Any:
    """Makes stores: a database and a root of their own, or the root of another host."""

    def make(database: str, root: str | None = None) -> Store:
        name = f"{tmp_path.name}_{database}"
        uri = made.get(name) or made.setdefault(name, postgres.database(name))
        return Store(TrackingConf(uri=uri, root=str(tmp_path / (root or database))))

    made: dict[str, str] = {}
    return make


@pytest.mark.parametrize("sweep", ["swept", None])
def test_every_row_is_the_one_that_mlflows_client_writes(place: Any, tmp_path: Path, sweep: str | None) -> None:
    results = awkward(tmp_path / "items")
    keys = {result.run_key for result, _ in results}
    origins = {key: layout.Origin(sweep, "suite: pythia\n") for key in keys}
    bulk, single, by_client = place("bulk"), place("single"), place("client")
    bulk._backend.deliver_many(results, origins)
    for key in sorted(keys):
        own = [pair for pair in results if pair[0].run_key == key]
        single.deliver(own, sweep, "suite: pythia\n")
    ServerBackend(by_client._link).deliver_many(results, origins)
    stores = [bulk, single, by_client]
    for store in stores:
        store.rebuild_curves("pythia")  # and the colours: who files one after the other does not know all sizes
        store.rebuild_curves("pythia")
    wanted = rows(by_client)
    assert {
        len(wanted[name]) > 0 for name in ("metrics", "latest_metrics", "params", "tags", "datasets", "inputs")
    } == {True}
    for store in stores[:2]:
        found = rows(store)
        assert {name: found[name] for name in wanted} == wanted
        assert artifacts(store) == artifacts(by_client)
    before = rows(bulk)
    bulk.deliver_many(results)
    for pair in results:
        bulk.deliver([pair], sweep, None)
    assert rows(bulk) == before


def test_a_run_takes_another_task_and_a_newer_result(place: Any, tmp_path: Path) -> None:
    bulk, by_client = place("bulk"), place("client")
    ((first, second), *_) = of_steps(tmp_path / "items", 1000)
    newer = make_result(
        tmp_path / "newer", "neqa", first[0].cell, metrics={"acc": 0.9}, key="n", finished_ms=2 * 10**12
    )
    for each in ([first], [first, second], [newer]):
        bulk.deliver_many(each)
        ServerBackend(by_client._link).deliver_many(each, {})
    for store in (bulk, by_client):
        store.rebuild_curves("pythia")
    assert rows(bulk) == rows(by_client)
    assert bulk.table("pythia")["value"].max() == 0.9


def test_hosts_that_file_the_same_at_once_make_each_run_once(place: Any, tmp_path: Path) -> None:
    """Two that ingest and two that evaluate; no lock of files is common to them."""
    deliveries = of_steps(tmp_path / "items", *range(1, 61))
    hosts = [place("shared", f"host{number}") for number in range(5)]
    hosts[0].check()  # MLflow's tables are made by one
    deliver_together(hosts[1:], deliveries, tmp_path, [True, True, False, False])
    client = MlflowClient(hosts[0]._link.uri)
    check_once(client, deliveries)
    owned = client.get_run(claims.anchor(hosts[0]._link)).data.params
    runs = client.search_runs([client.get_experiment_by_name("pythia").experiment_id])
    assert owned == {f"{run.data.tags['evalrun.run_key']}.1": run.info.run_id for run in runs}


@pytest.mark.parametrize(
    ("statement", "count"), [("INSERT INTO params", 3), ("INSERT INTO runs", 3), ("INSERT INTO latest_metrics", 2)]
)
def test_what_is_killed_amid_a_transaction_is_resumed(place: Any, tmp_path: Path, statement: str, count: int) -> None:
    """With two runs a transaction: the first is whole, the second is not there, and the next process files it."""
    results = flat(of_steps(tmp_path / "items", 1, 2, 3, 4, 5))
    whole, store = place("whole"), place("killed")
    for each in (whole, store):
        each.check()
    whole.deliver_many(results)
    order = tmp_path / "order.pickle"
    order.write_bytes(pickle.dumps((store, results, statement, count)))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", KILLED, str(order)]
    killed = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert killed.returncode == -9, killed.stderr
    assert set(store.table("pythia")["step"]) == {1, 2}
    assert len(MlflowClient(store._link.uri).get_run(claims.anchor(store._link)).data.params) == 2
    store.deliver_many(results)
    for each in (whole, store):
        each.rebuild_curves("pythia")
    assert rows(store) == rows(whole)
    assert artifacts(store) == artifacts(whole)
    folders = Path(store.conf.root) / "artifacts" / "pythia"
    assert len(list(folders.iterdir())) == 5  # none is left of the killed process


def test_a_run_that_was_deleted_is_filed_again(
    place: Any, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deleted once, twice, for good: it is a new run each time, made in bulk."""
    store, results = place("deleted"), flat(of_steps(tmp_path / "items", 1, 2))
    monkeypatch.setattr(bulk_claimed.runs, "deliver", lambda *_: pytest.fail("run by run"))
    store.deliver_many(results)
    client = MlflowClient(store._link.uri)
    seen = set()
    for _ in range(3):
        run = store.entry("pythia", "run-pythia-70m-1-None")
        assert run is not None
        seen.add(run.run_id)
        client.delete_run(run.run_id)
        store.deliver_many(results)
        assert len(store.filed("pythia")) == 2
    run = store.entry("pythia", "run-pythia-70m-1-None")
    assert run is not None
    seen.add(run.run_id)
    for table in ("latest_metrics", "metrics", "tags", "params"):
        postgres.run(f"delete from {table} where run_uuid = '{run.run_id}'", f"{tmp_path.name}_deleted")
    postgres.run(f"delete from runs where run_uuid = '{run.run_id}'", f"{tmp_path.name}_deleted")
    assert len(store.filed("pythia")) == 1
    store.deliver_many(results)
    assert len(seen) == 4
    assert len(store.filed("pythia")) == 2
    assert len(store.table("pythia")) == 8


def test_what_cannot_be_filed_leaves_nothing_and_says_why(place: Any, postgres: Postgres, tmp_path: Path) -> None:
    store, results = place("refused"), of_steps(tmp_path / "items", 1, 2, 3)
    store.deliver_many(results[0])
    before = rows(store)
    wrong = make_result(tmp_path / "wrong", "hellaswag", results[2][0][0].cell)
    wrong[1].write_bytes(b"other")
    with pytest.raises(StorageError, match="hellaswag"):
        store.deliver_many([*results[1], wrong])
    assert rows(store) == before

    database = f"{tmp_path.name}_refused"
    postgres.run("create role filer login password 'f'")
    postgres.run("grant select on all tables in schema public to filer", database)
    uri = str(store.conf.uri).replace(f"evalrun:{postgres.password}@", "filer:f@")
    with pytest.raises(TrackingError, match=r"gives this user no right to that \(permission denied for table"):
        Store(TrackingConf(uri=uri, root=store.conf.root)).deliver_many(results[1])

    postgres.run("update alembic_version set version_num = 'ffffffffffff'", database)
    with pytest.raises(TrackingError, match="install the MLflow that wrote it"):
        Store(store.conf).deliver_many(results[1])
    postgres.run(f"update alembic_version set version_num = '{before['alembic_version'][0][17:29]}'", database)
    assert rows(store) == before


def test_artifacts_that_are_not_files_are_sent_by_mlflows_client(
    place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction does not wait for a bucket."""
    store, results = place("bucket"), flat(of_steps(tmp_path / "items", 1, 2))
    place_of = bulk_rows.place_of
    away = lambda *one: bulk_rows.RunPlace("1", "s3://bucket/{run}/artifacts", place_of(*one).sizes)  # noqa: E731
    monkeypatch.setattr(bulk_claimed.bulk_rows, "place_of", away)
    monkeypatch.setattr(bulk_claimed.mlflow_tables, "transaction", lambda _: pytest.fail("in a transaction"))
    store.deliver_many(results)
    assert len(store.filed("pythia")) == 2


def test_the_number_of_statements_does_not_grow_with_the_runs(place: Any, tmp_path: Path) -> None:
    """Counted, not timed: fewer than one for three runs."""
    store = place("counted")
    bare: Results = [
        (make_result(tmp_path / "items", cell=make_cell(step=step), items_sha256="")[0], None) for step in range(1, 402)
    ]
    store.deliver_many(bare[:1])  # makes the experiments
    seen: list[str] = []
    engine = store._link.client._tracking_client.store.engine
    sa.event.listen(engine, "before_cursor_execute", lambda *call: seen.append(call[2]))
    store.deliver_many(bare)
    assert len(store.filed("pythia")) == 401
    assert len(seen) < 130
