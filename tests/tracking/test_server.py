"""A real MLflow server on this machine, and the UI's command."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from evalrun.config.schema import TrackingConf
from evalrun.core.free_port import free_port
from evalrun.core.task_group import TaskGroup
from evalrun.errors import TrackingError
from evalrun.tracking import Store, mlflow_ui

from .conftest import MakeResult, make_cell


def test_the_command_is_for_this_machine_only(store: Store) -> None:
    command = mlflow_ui.command(store._link, 5123)
    assert command[:4] == [sys.executable, "-m", "mlflow", "server"]
    options = dict(zip(command[4::2], command[5::2], strict=True))
    assert options["--backend-store-uri"] == store.uri
    assert (options["--host"], options["--port"]) == ("127.0.0.1", "5123")
    environment = mlflow_ui.environment()
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"


def test_a_server_needs_no_command(tmp_path: Path) -> None:
    remote = Store(TrackingConf(uri="http://127.0.0.1:1", root=str(tmp_path)))
    with pytest.raises(TrackingError, match="is a server already"):
        mlflow_ui.command(remote._link, 5000)


def test_nothing_to_show_is_said(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="no results at"):
        Store(TrackingConf(uri=None, root=str(tmp_path / "none"))).serve()
    assert not (tmp_path / "none").exists()


def test_a_taken_port_is_avoided() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) != port
    assert free_port(port) == port


def stop(process: subprocess.Popen[str]) -> None:
    """The server and its worker are a process group of their own."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(address: str, process: subprocess.Popen[str]) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + 240  # of a busy machine: it imports MLflow first
    while time.monotonic() < end:
        try:
            with opener.open(f"{address}/health", timeout=2) as reply:
                assert reply.read() == b"OK"
                return
        except OSError:
            assert process.poll() is None, "the server ended"
            time.sleep(0.25)
    raise AssertionError(f"nothing answers at {address}")


@pytest.fixture
def address(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A running server."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    port = free_port(0)
    command = [*mlflow_ui.command(store._link, port), "--artifacts-destination", (tmp_path / "served").as_uri()]
    command[command.index("--default-artifact-root") + 1] = "mlflow-artifacts:/"
    with open(tmp_path / "server.log", "w") as log:
        process = subprocess.Popen(
            command,
            env=mlflow_ui.environment(),
            stdout=log,
            stderr=log,
            text=True,
            start_new_session=True,
            cwd=tmp_path,
        )
    try:
        wait_for(f"http://127.0.0.1:{port}", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        stop(process)


def test_everything_works_through_a_server(address: str, make: MakeResult, tmp_path: Path) -> None:
    remote = Store(TrackingConf(uri=address, root=str(tmp_path / "client")))
    remote.check()
    assert remote.suites() == []
    results = [make(), make("hell a/swag")]
    run_id = remote.deliver(results, "s", "config")
    assert remote.deliver(results, "s", "config") == run_id
    remote.deliver([make(cell=make_cell(step=4000))], "s", "config")
    remote.mark("pythia", results[0][0].run_key, "t")
    assert remote.delivered("pythia", results[0][0].run_key) == {r.task: r.key for r, _ in results}
    table = remote.table("pythia", sweep="s")
    assert sorted(table["step"].unique()) == [2000, 4000]
    assert set(table[table["metric"] == "acc"]["stderr"]) == {0.0123456789}
    groups = {"both": TaskGroup("both", "Both", ("memo_trap", "hell a/swag"))}
    remote.groups.record("pythia", groups)
    assert Store(remote.conf).groups.of("pythia") == groups
    remote.rebuild_curves("pythia")
    remote.rebuild_curves("pythia")
    assert remote.view_path("pythia").startswith("#/experiments/")
    (tmp_path / "r.html").write_text("<p>")
    remote.log_report("pythia", {"report.html": tmp_path / "r.html"}, {"x": 1}, {}, {})
    assert len(list((tmp_path / "served").rglob("*.parquet"))) == 3, "the server keeps the artifacts"
    assert not (tmp_path / "client" / "artifacts").exists()

    from mlflow import MlflowClient

    client = MlflowClient(address)
    assert {len(client.get_metric_history(run_id, key)) for key in client.get_run(run_id).data.metrics} == {1}


@pytest.mark.release
def test_serve_takes_a_free_port_and_says_where_the_curves_are(store: Store, make: MakeResult) -> None:
    store.deliver([make()], None, "")
    store.rebuild_curves("pythia")
    code = (
        "import sys; from evalrun.config.schema import TrackingConf; from evalrun.tracking import Store\n"
        "Store(TrackingConf(uri=None, root=sys.argv[1])).serve(int(sys.argv[2]))"
    )
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        process = subprocess.Popen(
            [sys.executable, "-c", code, store.conf.root, port],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            assert process.stdout is not None
            first, second = (process.stdout.readline().strip() for _ in range(2))
            address = second.removeprefix("all of MLflow: ").rstrip("/")
            assert address.startswith("http://127.0.0.1:")
            assert not address.endswith(f":{port}")
            assert first == f"pythia: {address}/{store.view_path('pythia')}"
            wait_for(address, process)
        finally:
            stop(process)


def test_serve_says_where_a_server_is(address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Store(TrackingConf(uri=address, root=str(tmp_path / "client"))).serve()
    assert address in capsys.readouterr().out
