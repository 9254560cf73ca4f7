"""Stores that were moved, copied, written by another MLflow or by others: found again, and nothing done unasked."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from evalrun.config.schema import TrackingConf
from evalrun.errors import TrackingError
from evalrun.tracking import Store, database_schema, layout, moved, sqlite_address

from .conftest import MakeResult, make_cell

OLDER = "0584bdc529eb"  # the schema of MLflow 2.22


def at(root: Path, uri: str | None = None, upgrade: bool = False) -> Store:
    return Store(TrackingConf(uri=uri, root=str(root), upgrade=upgrade), patience_s=1.0)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def items_of(store: Store, *tasks: str) -> list[int]:
    """How many items of each task the first run gives back."""
    (run_id,) = set(store.table("pythia").query("step == 2000").run_id)
    with store.items([(run_id, task) for task in tasks]) as read:
        return [0 if (frame := read(run_id, task)) is None else len(frame) for task in tasks]


@pytest.fixture
def first(tmp_path: Path, make: MakeResult) -> Path:
    """A project's store with one run."""
    root = tmp_path / "first" / "mlruns"
    at(root).deliver([make()], "s", "config: 1")
    return root


def test_a_store_and_its_copy_are_used_in_turn(first: Path, tmp_path: Path, make: MakeResult) -> None:
    shutil.copytree(first.parent, tmp_path / "copy")
    stores = at(first), at(tmp_path / "copy" / "mlruns")
    for number, store in enumerate(stores):
        store.deliver([make(task=f"begun_{number}")], "s", None)
    for number, store in enumerate(stores):  # MLflow has met the run in either by now
        store.deliver([make(task=f"went_on_{number}")], "s", None)
    for number, store in enumerate(stores):
        shown = {path.stem for path in store._link.root.rglob("results/*.json")}
        assert shown == {"memo_trap", f"begun_{number}", f"went_on_{number}"}


def test_work_in_a_copy_writes_nothing_into_the_original(first: Path, tmp_path: Path, make: MakeResult) -> None:
    before = files(first)
    shutil.copytree(first.parent, tmp_path / "copy")
    copy = at(tmp_path / "copy" / "mlruns")
    copy.deliver([make(task="neqa")], "s", "config: 2")  # on the run that is there
    copy.deliver([make(cell=make_cell(step=4000))], "s", "config: 3")
    copy.rebuild_curves("pythia")
    assert files(first) == before
    shutil.rmtree(first)
    assert items_of(copy, "memo_trap", "neqa") == [4, 4]
    for run_id in copy.table("pythia").run_id.unique():
        assert {found.path for found in copy._link.client.list_artifacts(run_id)} >= {"items", "results", "config.yaml"}


def test_a_store_that_moved_is_as_it_was(
    first: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, make: MakeResult
) -> None:
    shutil.move(first.parent, tmp_path / "später 100% hier")
    store = at(tmp_path / "später 100% hier" / "mlruns")
    assert items_of(store, "memo_trap") == [4]
    (run_id,) = store.table("pythia").run_id.unique()
    assert Path(store._link.client.download_artifacts(run_id, "config.yaml", str(tmp_path))).read_text() == "config: 1"
    assert f"this store was in {first} before" in caplog.text
    store.deliver([make(task="neqa")], "s", None)
    assert not first.parent.exists()


def test_a_path_may_hold_what_an_address_gives_a_meaning(tmp_path: Path, make: MakeResult) -> None:
    """A ? begins options in one, and %41 is an A."""
    root = tmp_path / "what? #1 %41 100%" / "mlruns"
    store = at(root)
    store.check()
    store.deliver([make()], "s", "config: 1")
    store.deliver_many([make(cell=make_cell(step=4000))])
    store.rebuild_curves("pythia")
    (tmp_path / "page.html").write_text("<p>")
    store.log_report("pythia", {"page.html": tmp_path / "page.html"}, {}, {}, {})
    by_address = at(root, f"sqlite:///{tmp_path}/what%3F #1 %2541 100%/mlruns/mlflow.db")
    for one in (at(root), by_address):
        assert items_of(one, "memo_trap") == [4]
        assert sorted(one.table("pythia").step) == sorted([2000, 4000] * len(one.table("pythia").metric.unique()))
        assert one.view_path("pythia")
    client = MlflowClient(store.uri)  # which is what MLflow's own page is opened with
    assert {e.name for e in client.search_experiments()} == {"Default", "pythia", "pythia-curves", "pythia-report"}
    assert {path.name for path in tmp_path.iterdir()} == {"what? #1 %41 100%", "page.html", "journal"}


@pytest.mark.parametrize("path", ["/a/50% off", "/a/50%25", "/a/b?c=d", "/a/#1 é;&"])
def test_the_address_of_a_file_is_read_as_that_file(path: str) -> None:
    from sqlalchemy import make_url

    assert make_url(sqlite_address.address_of(Path(path))).database == path


def test_a_copy_of_the_database_alone_says_how_to_bring_the_rest(
    first: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, make: MakeResult
) -> None:
    before, root = files(first), tmp_path / "alone" / "mlruns"
    root.mkdir(parents=True)
    shutil.copy(first / "mlflow.db", root)
    store = at(root)
    store.deliver([make(task="neqa")], "s", None)
    assert files(first) == before
    assert items_of(store, "memo_trap", "neqa") == [0, 4]
    (command,) = re.findall(r"`(cp [^`]*)`", caplog.text)
    assert shlex.split(command) == ["cp", "-rn", f"{first}/artifacts/.", f"{root}/artifacts"]
    shutil.copytree(first / "artifacts", root / "artifacts", dirs_exist_ok=True)  # what the command does
    assert items_of(store, "memo_trap", "neqa") == [4, 4]


def test_a_place_by_another_name_and_a_database_that_lies_elsewhere_are_left_alone(
    first: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "link").symlink_to(first.parent)
    assert items_of(at(tmp_path / "link" / "mlruns"), "memo_trap") == [4]
    chosen = at(tmp_path / "other", f"sqlite:///{first}/mlflow.db")
    assert items_of(chosen, "memo_trap") == [4]
    assert not caplog.records


def test_items_of_a_moved_store_that_may_only_be_read(first: Path, tmp_path: Path) -> None:
    (folder,) = (first / "artifacts" / "pythia").glob("*/artifacts")
    uri = folder.as_uri()
    shutil.move(first, tmp_path / "elsewhere")
    new = moved.here(uri, tmp_path / "elsewhere")
    assert new is not None
    assert (new / "items" / "memo_trap.parquet").is_file()
    assert moved.here("s3://bucket/artifacts/x/y/artifacts", tmp_path) is None


def old_database(root: Path) -> Path:
    """A database as MLflow 2.22 makes it: its first tables, its own migrations as far as then, its experiment."""
    from alembic import command
    from mlflow.store.db.utils import _get_alembic_config, create_sqlalchemy_engine_with_retry
    from mlflow.store.tracking.dbmodels.initial_models import Base

    root.mkdir(parents=True)
    path = root / "mlflow.db"
    engine = create_sqlalchemy_engine_with_retry(sqlite_address.address_of(path))
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        config = _get_alembic_config("sqlite://")  # it is given the connection
        config.attributes["connection"] = connection
        command.upgrade(config, OLDER)
        columns = "experiment_id, name, artifact_location, lifecycle_stage"
        values = (0, "Default", str(root / "0"), "active")
        connection.exec_driver_sql(f"INSERT INTO experiments ({columns}) VALUES (?, ?, ?, ?)", values)
    engine.dispose()
    return path


def test_an_older_database_is_migrated_when_asked_for_and_a_copy_kept(
    tmp_path: Path, make: MakeResult, caplog: pytest.LogCaptureFixture
) -> None:
    path = old_database(tmp_path / "what? 100%25" / "mlruns")
    before = path.read_bytes()
    for use in (Store.check, Store.suites, lambda store: store.deliver([make()], None, None)):
        with pytest.raises(TrackingError, match="written by an older MLflow.*tracking.upgrade=true") as caught:
            use(at(path.parent))
        assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    at(path.parent, upgrade=True).deliver([make()], None, None)
    assert database_schema.of_file(path, 1.0) == database_schema.known()[0]
    kept = path.with_name(f"mlflow.db.schema-{OLDER}")
    assert database_schema.of_file(kept, 1.0) == OLDER
    assert str(kept) in caplog.text
    assert at(path.parent).suites() == ["pythia"]  # nothing more to ask


def test_the_schema_of_the_mlflow_that_is_installed_is_the_one_that_it_writes(store: Store) -> None:
    store.check()
    assert database_schema.of_file(Path(store.conf.root) / "mlflow.db", 1.0) == database_schema.known()[0]
    assert OLDER in database_schema.known()[1]


def test_the_advice_about_a_deleted_experiment_works_when_pasted(store: Store, make: MakeResult) -> None:
    from click.testing import CliRunner
    from mlflow.cli import cli

    store.deliver([make()], None, None)
    client = store._link.client
    for said in (1, 2):  # restore, then remove for good
        client.delete_experiment(client.get_experiment_by_name("pythia").experiment_id)
        with pytest.raises(TrackingError, match="was deleted") as caught:
            store.suites()
        command = re.findall(r"`(MLFLOW[^`]*)`", str(caught.value))[said - 1]
        variable, python, dash_m, mlflow, *words = shlex.split(command)
        assert (python, dash_m, mlflow) == ("python", "-m", "mlflow")
        ended = CliRunner().invoke(cli, words, env=dict([variable.split("=", 1)]))
        assert ended.exit_code == 0, ended.output
        assert bool(store.suites()) is (said == 1)


@contextlib.contextmanager
def tags_of_the_run(store: Store) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(Path(store.conf.root) / "mlflow.db")) as database:
        yield database
        database.commit()


def test_what_a_later_version_says_beside_is_kept_and_passed_over(store: Store, make: MakeResult) -> None:
    store.deliver([make()], "s", None)
    with tags_of_the_run(store) as database:
        for key, more in (("evalrun.about.memo_trap", '{"ties":3,'), (layout.CELL, '{"vintage":"new",')):
            (value,) = database.execute("SELECT value FROM tags WHERE key = ?", (key,)).fetchone()
            database.execute("UPDATE tags SET value = ? WHERE key = ?", (more + value[1:], key))
    assert list(store.table("pythia").task.unique()) == ["memo_trap"]
    assert len(store.past("pythia")) == len(store.filed("pythia")) == 1
    store.deliver([make(task="neqa")], "s", None)
    with tags_of_the_run(store) as database:
        kept = dict(database.execute("SELECT key, value FROM tags").fetchall())
    assert json.loads(kept["evalrun.about.memo_trap"])["ties"] == 3
    assert json.loads(kept[layout.CELL])["vintage"] == "new"


@pytest.mark.parametrize("tag", [layout.CELL, "evalrun.about.memo_trap", layout.SWEEPS])
@pytest.mark.parametrize("value", ["no JSON", "[1]", '{"suite": "local"}'])
def test_a_tag_that_others_spoilt_hides_its_own_run_alone(
    store: Store, make: MakeResult, tag: str, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    store.deliver([make(), make(task="neqa")], "s", None)
    store.deliver([make(cell=make_cell(step=4000))], "s", None)
    layout._unread.clear()
    with tags_of_the_run(store) as database:
        (run,) = database.execute(
            "SELECT run_uuid FROM tags WHERE key = 'evalrun.run_key' AND value LIKE '%2000%'"
        ).fetchone()
        database.execute("UPDATE tags SET value = ? WHERE key = ? AND run_uuid = ?", (value, tag, run))
    left = store.table("pythia", sweep="s")
    assert 4000 in set(left.step)
    assert ("neqa" in set(left.task)) is tag.startswith("evalrun.about")
    assert store.past("pythia")
    assert store.filed("pythia")
    assert tag == layout.SWEEPS or f"'{tag}'" in caplog.text


def test_an_experiment_of_others_that_has_the_suites_name_is_taken_on(store: Store, make: MakeResult) -> None:
    store.check()
    store._link.client.create_experiment("pythia")
    store.deliver([make()], None, None)
    assert store.suites() == ["pythia"]


def test_artifacts_that_were_put_elsewhere_stay_there(make: MakeResult, tmp_path: Path) -> None:
    """Another process' root is no place that the store was in before."""
    beside = Store(TrackingConf(uri=None, root=str(tmp_path / "mlruns")))
    beside.check()
    Store(TrackingConf(uri=beside.uri, root=str(tmp_path / "elsewhere"))).deliver([make()], None, "")
    again = Store(TrackingConf(uri=None, root=str(tmp_path / "mlruns")))
    again.check()
    client = MlflowClient(again.uri)
    (run,) = client.search_runs([client.get_experiment_by_name("pythia").experiment_id])
    assert len(client.list_artifacts(run.info.run_id, "items")) == 1
