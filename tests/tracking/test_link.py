"""Opening the store: first use by many, and one sentence, soon, for everything that can be wrong with it."""

from __future__ import annotations

import contextlib
import http.server
import os
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import evalrun
from evalrun.config.schema import TrackingConf
from evalrun.errors import TrackingError
from evalrun.tracking import Store, connection
from evalrun.tracking.server_artifacts import see_that_they_arrive

from .conftest import MakeResult, make_cell

FIRST_USE = """
import pickle, sys
store, results = pickle.load(open(sys.argv[1], "rb"))
store.check()
store.deliver(results, None, "")
"""


def fails(store: Store, match: str, within_s: float = 8.0) -> str:
    """`check` raises one sentence in time."""
    import mlflow  # noqa: F401  (its import is not what is timed)

    start = time.monotonic()
    with pytest.raises(TrackingError, match=match) as caught:
        store.check()
    assert time.monotonic() - start < within_s
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    return message


def at(root: Path, uri: str | None = None, patience_s: float = 1.0) -> Store:
    return Store(TrackingConf(uri=uri, root=str(root)), patience_s=patience_s)


def test_importing_is_cheap() -> None:
    code = "import evalrun.tracking, sys; assert not {'mlflow', 'pandas', 'sqlalchemy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_where_the_store_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert at(Path("mlruns")).uri == f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    assert at(Path("x"), "sqlite:///a/b.db").uri == f"sqlite:///{tmp_path}/a/b.db"
    assert at(Path("x"), f"sqlite:///{tmp_path}/b.db").uri == f"sqlite:///{tmp_path}/b.db"
    assert at(Path("x"), "http://host:1").uri == "http://host:1"
    assert list(tmp_path.iterdir()) == []


def test_check_makes_the_store_quietly(tmp_path: Path) -> None:
    """In a process of its own: MLflow and its migrations must print nothing, and hold no run open."""
    code = (
        "import sys; from evalrun.config.schema import TrackingConf; from evalrun.tracking import Store\n"
        "Store(TrackingConf(uri=None, root=sys.argv[1])).check()\n"
        "import mlflow; assert mlflow.active_run() is None"
    )
    root = tmp_path / "a folder, 50% #1" / "mlruns"
    environment = {**os.environ, "PYTHONPATH": str(Path(evalrun.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code, str(root)], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (root / "mlflow.db").stat().st_size > 0
    assert [path.name for path in tmp_path.iterdir()] == ["a folder, 50% #1"]
    at(root).check()


def test_many_processes_may_use_it_first(tmp_path: Path, make: MakeResult) -> None:
    import pickle

    store = Store(TrackingConf(uri=None, root=str(tmp_path / "mlruns")))
    workers = []
    for i in range(4):
        order = tmp_path / f"{i}.pickle"
        order.write_bytes(pickle.dumps((store, [make(cell=make_cell(step=i))])))
        workers.append(
            subprocess.Popen([sys.executable, "-c", FIRST_USE, str(order)], stderr=subprocess.PIPE, text=True)
        )
    errors = [worker.communicate()[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4, errors
    assert set(store.table("pythia")["step"]) == {0, 1, 2, 3}
    assert store.table("pythia")["run_id"].nunique() == 4


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


def test_a_locked_database(store: Store) -> None:
    root = Path(store.conf.root)
    with locked(root / "mlflow.db"):
        assert str(root / "mlflow.db") in fails(at(root), "locked by another process")
    at(root).check()


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is a text file, and a long one" * 100)
    fails(at(tmp_path), "not an SQLite database")


@pytest.mark.parametrize(
    ("schema", "advice"),
    [("ffffffffffff", "install the MLflow that wrote it"), ("0a8213491aaa", "tracking.upgrade=true")],
)
def test_a_database_of_another_mlflow(store: Store, schema: str, advice: str) -> None:
    root = Path(store.conf.root)
    with contextlib.closing(sqlite3.connect(root / "mlflow.db")) as database:
        database.execute("UPDATE alembic_version SET version_num = ?", (schema,))
        database.commit()
    fails(at(root), advice)


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    fails(at(tmp_path / "file" / "mlruns"), "cannot be written")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        fails(at(tmp_path / "mlruns"), "cannot be written")
    finally:
        tmp_path.chmod(0o700)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("scheme", ["http", "https", "postgresql"])
def test_nobody_listens(tmp_path: Path, scheme: str) -> None:
    message = fails(at(tmp_path, f"{scheme}://user:secret@127.0.0.1:{closed_port()}/x"), "cannot be reached")
    assert "secret" not in message


def test_a_server_that_does_not_answer(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        fails(at(tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}"), "cannot be reached")


@contextlib.contextmanager
def answering(status: int, text: str, health: int = 200) -> Iterator[str]:
    """The address of a server that answers everything with this, and /health with a status."""

    class Answering(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(health if self.path == "/health" else status)
            self.end_headers()
            self.wfile.write(text.encode())

        do_POST = do_GET  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


PAGE = "<!DOCTYPE HTML>\n<title>Shop</title>"


@pytest.mark.parametrize(
    ("status", "text", "health", "said"),
    [
        (404, PAGE, 404, r"\(status 404 for /health\)"),
        (200, PAGE, 200, r"with a web page \(status 200\) where an experiment was asked for"),
        (404, PAGE, 200, r"with a web page \(status 404\)"),
        (200, "OK", 200, r"with something else than JSON"),
    ],
)
def test_a_server_that_is_no_mlflow(tmp_path: Path, status: int, text: str, health: int, said: str) -> None:
    with answering(status, text, health) as address:
        message = fails(at(tmp_path, address), f"answers, but not like an MLflow server.*{said}")
    assert "<" not in message


def test_a_web_page_in_place_of_an_answer_is_not_quoted(tmp_path: Path) -> None:
    with answering(410, PAGE) as address, pytest.raises(TrackingError, match=r"a web page \(status 410\)") as caught:
        at(tmp_path, address).delivered("pythia", "key")
    assert "<" not in str(caught.value)


def test_a_server_that_does_not_take_its_name(tmp_path: Path) -> None:
    """MLflow answers so from behind --allowed-hosts, though not for /health."""
    with answering(403, "Invalid Host header - possible DNS rebinding attack detected") as address:
        said = fails(at(tmp_path, address), "does not take this name")
    assert "--allowed-hosts '127.0.0.1,127.0.0.1:*,localhost:*'" in said


LOGIN = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "asks for a login (401): set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."),
        ({LOGIN[0]: "ada"}, "asks for a login (401): set "),
        ({LOGIN[0]: "ada", LOGIN[1]: "pass-of-ada"}, "does not take the login 'ada' with its password (401): correct "),
        ({LOGIN[2]: "pass-of-ada"}, "does not take MLFLOW_TRACKING_TOKEN (401): "),
    ],
)
@pytest.mark.parametrize("health", [200, 401])
def test_a_server_that_asks_for_a_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], said: str, health: int
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # which may hold MLflow's file of logins
    for name in LOGIN:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with answering(401, "You are not authenticated, pass-of-ada.", health) as address:
        message = fails(at(tmp_path, address), re.escape(said))
        with pytest.raises(TrackingError, match=re.escape(said)):  # it was let in at the start of a sweep
            at(tmp_path, address).delivered("pythia", "key")
    assert "pass-of-ada" not in message


def test_a_login_without_the_permission_says_which_is_needed(tmp_path: Path) -> None:
    with answering(403, "Permission denied") as address:
        fits = at(tmp_path, address)
        fits.check()  # other experiments may be for it
        with pytest.raises(TrackingError, match=r"\(403, while .*\): .* takes READ .*, filing results or reports EDIT"):
            fits.delivered("pythia", "key")


@pytest.mark.parametrize("uri", ["./mlruns", "file:///tmp/x", "databricks", "sqlite://"])
def test_a_uri_of_no_use(tmp_path: Path, uri: str) -> None:
    fails(at(tmp_path, uri), r"tracking\.uri takes null, sqlite:///FILE")


def test_a_database_locked_while_delivering(store: Store, make: MakeResult, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow waits 20 s and then raises; that must arrive as one sentence, not as a traceback in the log."""
    import mlflow.store.db.utils as utils

    store.deliver([make()], None, "")
    quick = utils.sql.text
    monkeypatch.setattr(utils.sql, "text", lambda text: quick(text.replace("20000", "100")))
    with (
        locked(Path(store.conf.root) / "mlflow.db"),
        pytest.raises(TrackingError, match="locked by another process") as caught,
    ):
        store.deliver([make("hellaswag")], None, "")
    assert "\n" not in str(caught.value)
    store.deliver([make("hellaswag")], None, "")


def test_a_full_or_broken_artifact_folder(store: Store, make: MakeResult, tmp_path: Path) -> None:
    (tmp_path / "mlruns" / "artifacts").write_text("in the way")
    with pytest.raises(TrackingError, match=r"failed while delivering results|cannot be written"):
        store.deliver([make()], None, "")
    (tmp_path / "mlruns" / "artifacts").unlink()
    store.deliver([make()], None, "")
    assert len(store.table("pythia")) == 2


@pytest.mark.parametrize(
    ("driver", "lacks", "named"),
    [
        ("postgresql+psycopg", "psycopg", "psycopg[binary]"),
        ("postgresql+psycopg2", "psycopg2", "psycopg2-binary"),
        ("mysql+pymysql", "pymysql", "pymysql"),
    ],
)
def test_a_database_without_its_package_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, driver: str, lacks: str, named: str
) -> None:
    monkeypatch.setitem(sys.modules, lacks, None)  # as if it were not installed
    with socket.create_server(("127.0.0.1", 0)) as server:
        uri = f"{driver}://me@127.0.0.1:{server.getsockname()[1]}/study"
        with pytest.raises(TrackingError, match=f"needs the Python package '{lacks}'") as raised:
            Store(TrackingConf(uri=uri, root=str(tmp_path)), patience_s=1.0).check_readable()
    assert f"`pip install '{named}'`" in str(raised.value)


@pytest.mark.parametrize(("set_to", "shown"), [(None, False), ("true", True)])
def test_bars_of_artifacts_are_for_who_asks_for_them(
    monkeypatch: pytest.MonkeyPatch, set_to: str | None, shown: bool
) -> None:
    from mlflow.environment_variables import MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR as BAR

    monkeypatch.setenv(BAR.name, "true")  # so that it is put back
    if set_to is None:
        monkeypatch.delenv(BAR.name)
    connection.quiet()
    assert BAR.get() is shown


@pytest.mark.parametrize("form", ["{}/1", "file://{}/1"])
def test_a_server_that_takes_no_artifacts_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, form: str
) -> None:
    """MLflow's client writes into the folder of that name on its own machine."""
    root = tmp_path / "of the server"
    for number in range(2):
        see_that_they_arrive("pythia", form.format(root), "http://host")
        assert len(caplog.records) == 1, number
    assert f"are written to '{root}' on this machine" in caplog.text
    assert "--artifacts-destination FOLDER" in caplog.text


def test_a_folder_that_a_server_shares_and_artifacts_that_it_takes_are_not_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = list(tmp_path.iterdir())
    for location in (f"{tmp_path}/1", "mlflow-artifacts:/1", "s3://bucket/1"):
        see_that_they_arrive("pythia", location, "http://host")
    assert not caplog.records
    assert list(tmp_path.iterdir()) == before


def test_a_folder_of_a_server_that_cannot_be_made_here_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "artifacts" / "1"
    with pytest.raises(
        TrackingError, match=r"cannot be made on this machine .*--artifacts-destination FOLDER"
    ) as caught:
        see_that_they_arrive("pythia", str(folder), "http://host")
    assert str(folder) in str(caught.value)
