"""Results in PostgreSQL: read by SQL, they are what MLflow's client says and what a SQLite file holds."""

from __future__ import annotations

import math
import multiprocessing
import re
import socket
import time
from concurrent.futures import ProcessPoolExecutor
from operator import itemgetter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa
from mlflow import MlflowClient

from evalrun.commands.table_input import config_of
from evalrun.config.schema import Config, TrackingConf
from evalrun.core.records import TaskResult
from evalrun.errors import TrackingError
from evalrun.reporting import build
from evalrun.tracking import Store, results_table, sql_reader
from evalrun.tracking.backends import backend_of
from evalrun.tracking.server_backend import ServerBackend
from test_up_to_date import analyse, deliver, table_alone
from tracking.conftest import make_cell, make_result

from .engines import Postgres

pytestmark = pytest.mark.engines


by_name = itemgetter("run_name")


def all_runs(uri: str, experiment: str) -> list[dict[str, Any]]:
    """What MLflow's client says of an experiment's runs, in order of their names."""
    client = MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return sorted(
        ({**dict(run.info), **run.data.to_dictionary()} for run in runs), key=lambda run: str(run["run_name"])
    )


def test_postgres_holds_the_table_of_a_file(postgres: Postgres, tmp_path: Path) -> None:
    """Missing cells, seeds, values that are none, items, half a run."""
    pairs = []
    for step in (0, 1, 1000):
        for seed in (None, 1, 2):
            for task in ("memo_trap", "neqa") if step or seed else ("neqa",):
                metrics = {"acc": math.nan if (step, seed) == (1, 2) else step / 3e3 + 0.1, "f1": math.inf}
                pairs.append(make_result(tmp_path / "items", task, make_cell(step=step, seed=seed), metrics=metrics))
    half = [make_result(tmp_path / "items", task, make_cell("half", 7)) for task in ("neqa", "memo_trap")]
    file = Store(TrackingConf(uri=None, root=str(tmp_path / "file")))
    server = Store(TrackingConf(uri=postgres.database("results"), root=str(tmp_path / "server")))
    tables, points, colours, answers = [], [], [], []
    for store in (file, server):
        store.check()
        store.deliver_many(pairs)
        run_id = store.deliver(half, None, None)
        uri = store._link.uri
        MlflowClient(uri).delete_tag(run_id, "evalrun.task.neqa")  # as a killed process leaves it
        table = store.table("pythia")
        by_client = results_table.read(store._link, "pythia").of()
        pd.testing.assert_frame_equal(table, by_client, check_exact=True)
        assert store.filed("pythia").keys() == {run.run_key for run in ServerBackend(store._link).runs("pythia")}
        keys = store.filed("pythia").keys()
        for sweep in ("one", "two", "two"):
            store.mark_all("pythia", keys, sweep)
        assert len(store.table("pythia", "one")) == len(store.table("pythia", "two")) == len(table) > 0
        store.rebuild_curves("pythia")
        before = all_runs(uri, "pythia-curves")
        store.rebuild_curves("pythia")
        assert all_runs(uri, "pythia-curves") == before  # nothing has changed: nothing is written
        assert set(table.loc[table["model"] == "half", "task"]) == {"memo_trap"}
        tables.append(table.drop(columns="run_id"))
        points.append([{name: run[name] for name in ("run_name", "metrics", "params", "status")} for run in before])
        colours.append({run["params"]["n_params"]: run["tags"]["mlflow.runColor"] for run in all_runs(uri, "pythia")})
        wanted = table[["run_id", "task"]].drop_duplicates()
        with store.items(wanted.itertuples(index=False, name=None)) as reader:
            frames = [reader(run_id, task) for run_id, task in wanted.itertuples(index=False, name=None)]
        assert None not in [frame if frame is None else len(frame) for frame in frames]
        answers.append(frames)
    pd.testing.assert_frame_equal(*tables, check_exact=False, rtol=0, atol=1e-9)
    assert points[0] == points[1]
    assert colours[0] == colours[1]
    assert [run["run_name"] for run in points[0]] == ["half", "pythia-70m", "pythia-70m seed 1", "pythia-70m seed 2"]
    for one, other in zip(*answers, strict=True):
        pd.testing.assert_frame_equal(one, other)
    assert points[0][2]["metrics"]["acc/neqa"] == pytest.approx(1 / 3 + 0.1, abs=1e-9)


def of_steps(
    folder: Path, *steps: int, value: float = 0.5, finished_ms: int = 5
) -> list[tuple[TaskResult, Path | None]]:
    given = {"metrics": {"acc": value}, "finished_ms": finished_ms}
    return [make_result(folder, "neqa", make_cell(step=step), key=f"{value}-{step}", **given) for step in steps]


def one_sentence(store: Store) -> str:
    """Why its results cannot be read."""
    with pytest.raises(TrackingError) as caught:
        store.read("pythia")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    return str(caught.value)


def test_what_others_write_meanwhile_is_all_in_the_next_reading(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_reader, "_RUNS_A_PAGE", 1)
    conf = TrackingConf(uri=postgres.database("meanwhile"), root=str(tmp_path / "root"))
    store = Store(conf)
    assert store.suites() == []
    assert store.read("pythia").rows.empty
    store.deliver_many(of_steps(tmp_path / "first", 1, 2, 3))
    reading = sql_reader.pages(store._link, "pythia")
    pages = [next(reading)]
    Store(conf).deliver_many(of_steps(tmp_path / "second", 1, 2, 3, 4, value=0.75, finished_ms=9))
    pages += reading
    assert [run.metrics["acc/neqa"] for page in pages for run in page] == [0.5] * 3
    assert store.table("pythia")["value"].tolist() == [0.75] * 4


def test_a_user_who_may_only_read_reads(postgres: Postgres, tmp_path: Path) -> None:
    """And one who may not is told so, as is one with a wrong password or a connection that is cut."""
    uri = postgres.database("shared")
    owner = Store(TrackingConf(uri=uri, root=str(tmp_path / "owner")))
    owner.deliver_many(of_steps(tmp_path / "items", 1, 2, 3))
    postgres.run("create role reader login password 'r'; create role stranger login password 's'")
    postgres.run("grant select on all tables in schema public to reader", "shared")

    def by(user: str, password: str) -> Store:
        place = uri.replace(f"evalrun:{postgres.password}@", f"{user}:{password}@")
        return Store(TrackingConf(uri=place, root=str(tmp_path / user)))

    reader = by("reader", "r")
    reader.check_readable()
    assert reader.suites() == ["pythia"]
    pd.testing.assert_frame_equal(reader.table("pythia"), owner.table("pythia"), check_exact=True)
    assert "gives this user no right to that (permission denied for table" in one_sentence(by("stranger", "s"))
    refused = one_sentence(by("reader", "wrong-secret"))
    assert "password" in refused
    assert "wrong-secret" not in refused
    reading = sql_reader.pages(reader._link, "pythia")
    with pytest.raises(TrackingError, match="failed while reading results") as caught:
        for _ in reading:
            postgres.run("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'reader'")
    assert "\n" not in str(caught.value)


def test_experiments_of_several_workspaces_are_not_taken_for_one_another(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = TrackingConf(uri=postgres.database("teams"), root=str(tmp_path / "root"))
    Store(conf).deliver_many(of_steps(tmp_path / "items", 1))
    values = "name, lifecycle_stage, workspace) values ('pythia', 'active', 'team')"
    postgres.run(f"insert into experiments ({values}", "teams")
    assert "several workspaces" in one_sentence(Store(conf))
    monkeypatch.setenv("MLFLOW_ENABLE_WORKSPACES", "true")
    assert type(backend_of(Store(conf)._link)) is ServerBackend


@pytest.mark.parametrize(
    ("schema", "advice"),
    [("ffffffffffff", "install the MLflow that wrote it"), ("0a8213491aaa", "tracking.upgrade=true")],
)
def test_a_database_of_another_mlflow_is_not_read(postgres: Postgres, tmp_path: Path, schema: str, advice: str) -> None:
    conf = TrackingConf(uri=postgres.database(f"of_{schema}"), root=str(tmp_path / "root"))
    Store(conf).deliver_many(of_steps(tmp_path / "items", 1))
    postgres.run(f"update alembic_version set version_num = '{schema}'", f"of_{schema}")
    assert advice in one_sentence(Store(conf))


def test_a_server_that_takes_the_call_and_says_nothing(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        uri = f"postgresql+psycopg://user:secret@127.0.0.1:{silent.getsockname()[1]}/results"
        began = time.monotonic()
        assert "cannot be reached" in one_sentence(Store(TrackingConf(uri=uri, root=str(tmp_path)), patience_s=2.0))
        assert time.monotonic() - began < 20


@pytest.fixture
def analysed(postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Two suites in a database of their own, analysed; a report is its table."""
    monkeypatch.setattr(build, "run_analysis", table_alone)
    uri = postgres.database(tmp_path.name)
    config = config_of({"methods": ["ols"], "tracking.uri": uri, "tracking.root": str(tmp_path / "root")})
    for suite in ("pythia", "other"):
        deliver(Store(config.tracking), tmp_path, [1000, 2000, 4000], suite)
    assert analyse(config, tmp_path)[1] == 2
    return config


def test_an_analysis_of_what_has_not_changed_is_not_made(
    postgres: Postgres, analysed: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the server does for itself, and who writes into another of its databases, is no change."""
    deliver(Store(TrackingConf(uri=postgres.database("beside"), root=str(tmp_path / "beside"))), tmp_path, [1000])
    postgres.run("vacuum full", tmp_path.name)
    postgres.run("analyze", tmp_path.name)
    capsys.readouterr()
    assert analyse(analysed, tmp_path)[1] == 0
    assert re.fullmatch(r"the 2 reports are up to date .*: nothing has changed .*\n", capsys.readouterr().out)


def test_only_the_suite_that_another_process_wrote_is_analysed_again(
    analysed: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        pool.submit(deliver, Store(analysed.tracking), tmp_path, [8000], "other").result()
    capsys.readouterr()
    pages, made = analyse(analysed, tmp_path)
    assert made == 1
    assert "pythia/report.html is up to date: its results have not changed." in capsys.readouterr().out
    assert ",8000," in (tmp_path / "analysis/other/results.csv").read_text()
    assert analyse(analysed, tmp_path) == (pages, 0)


def test_what_is_changed_by_hand_is_analysed_again(analysed: Config, tmp_path: Path) -> None:
    store = Store(analysed.tracking)
    client, run_id = MlflowClient(store._link.uri), store.table("pythia")["run_id"].iloc[0]
    made = []
    for key in ("evalrun.task.memo_trap", "somebody.s.note"):
        client.set_tag(run_id, key, "changed")
        assert store.read("pythia").digest == store.state().content("pythia")
        made.append(analyse(analysed, tmp_path)[1])
    client.delete_run(run_id)
    assert [*made, analyse(analysed, tmp_path)[1], analyse(analysed, tmp_path)[1]] == [1, 0, 1, 0]


def test_what_was_being_written_during_an_analysis_is_noticed_later(
    postgres: Postgres, analysed: Config, tmp_path: Path
) -> None:
    """A transaction that began before the analysis, and is committed after it."""
    change = "update latest_metrics set value = {} where key = 'acc/memo_trap' and step = 1000"
    with sa.create_engine(Store(analysed.tracking)._link.uri).connect() as writing:
        writing.execute(sa.text(change.format(0.123)))
        (tmp_path / "analysis/made.json").unlink()
        made = [analyse(analysed, tmp_path)[1] for _ in range(2)]
        writing.commit()
    made += [analyse(analysed, tmp_path)[1] for _ in range(2)]
    postgres.run(change.format("value + 1e-16"), tmp_path.name)
    assert [*made, analyse(analysed, tmp_path)[1]] == [2, 0, 2, 0, 2]


def test_a_user_who_may_only_read_sees_what_has_changed(postgres: Postgres, analysed: Config, tmp_path: Path) -> None:
    owner = Store(analysed.tracking)
    postgres.run("create role looker login password 'l'; alter role looker set extra_float_digits = 0")
    postgres.run("grant select on all tables in schema public to looker", tmp_path.name)
    uri = str(analysed.tracking.uri).replace(f"evalrun:{postgres.password}@", "looker:l@")
    looker = Store(TrackingConf(uri=uri, root=str(tmp_path / "looker")))

    def seen(store: Store) -> list[str | None]:
        state = store.state()
        return [ask(suite) for suite in store.suites() for ask in (state.content, state.items)] + [state.stamp()]

    before = seen(looker)
    assert before == seen(owner)
    assert None not in before
    deliver(owner, tmp_path, [8000], "pythia")
    assert [one == other for one, other in zip(before, seen(looker), strict=True)] == [True, True, False, False, False]
