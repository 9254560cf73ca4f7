"""What of a sweep is done, failed, died or undelivered; and delivering what a dead server did not take."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient

from evalrun.config.schema import TrackingConf
from evalrun.core.free_port import free_port
from evalrun.tracking import Store, mlflow_ui
from helpers import EVALUATED, ROOT, Run
from tracking.test_server import stop, wait_for

SWEEP = EVALUATED
GRID = SWEEP[1:-1]
HEAVY = ("torch", "transformers", "lm_eval", "datasets", "mlflow")


def cells(shown: subprocess.CompletedProcess[str]) -> dict[tuple[str, int], dict[str, Any]]:
    assert "Traceback" not in shown.stderr, shown.stderr
    return {(cell["model"], cell["step"]): cell for cell in json.loads(shown.stdout)}


@contextmanager
def sweeping(workspace: Path, *words: str, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "evalrun", *words], cwd=workspace, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **(env or {})},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def until(found: Callable[[], object], process: subprocess.Popen[str] | None = None) -> None:
    deadline = time.monotonic() + 240
    while not found():
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None, process.communicate()[0]
        time.sleep(0.01)


def results(workspace: Path) -> list[Path]:
    return sorted((workspace / "multirun").rglob("results/*.json"))


@pytest.mark.slow
def test_a_sweep_from_nothing_over_a_failure_to_done(evalrun: Run, workspace: Path) -> None:
    shown = evalrun("status", *GRID)
    assert shown.returncode == 1, shown.stderr
    assert "0 of 8 jobs done" in shown.stdout
    assert "python -m evalrun -m 'model=glob(toy/*)' step=1,2,...,8 task=alpha,beta" in shown.stdout
    assert not (workspace / "multirun").exists()
    assert not (workspace / "mlruns").exists()
    assert "nothing under 'multirun'" in evalrun("status").stdout

    weights = workspace / "models" / "toy-s" / "step2" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    assert evalrun(*SWEEP).returncode == 1
    for asked in (GRID, ()):
        shown = evalrun("status", *asked)
        assert shown.returncode == 1
        assert "7 of 8 jobs done" in shown.stdout
        assert "failed:\n  checkpoint of toy-s step 2 in" in shown.stdout
        failed = cells(evalrun("status", *asked, "--json"))["toy-s", 2]
        assert failed["state"] == "failed"
        assert failed["missing"] == ["alpha", "beta"]
        assert "cannot be loaded" in failed["cause"]

    weights.write_bytes(whole)
    again = evalrun(*SWEEP)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("computing") == 1
    for asked in (GRID, ()):
        shown = evalrun("status", *asked)
        assert shown.returncode == 0, shown.stdout
        assert "8 of 8 jobs done" in shown.stdout
        assert "failed" not in shown.stdout
        assert "next:" not in shown.stdout
    assert not list((workspace / "multirun").rglob("state-*"))

    more = cells(evalrun("status", "model=toy/toy-s", "step=8", "task=alpha,beta", "num_fewshot=1", "--json"))
    assert more["toy-s", 8]["state"] == "missing", "another setting is another result"
    (workspace / "data" / "beta.jsonl").write_text((workspace / "data" / "alpha.jsonl").read_text())
    assert cells(evalrun("status", *GRID, "--json"))["toy-m", 1]["missing"] == ["beta"]
    (workspace / "models" / "toy-m" / "step1" / "model.safetensors").write_bytes(whole)
    assert cells(evalrun("status", *GRID, "--json"))["toy-m", 1]["missing"] == ["alpha", "beta"]


@pytest.mark.slow
def test_a_running_and_a_killed_job_are_told_apart(evalrun: Run, workspace: Path) -> None:
    with sweeping(workspace, *SWEEP, "scorer.verify=0") as victim:
        until(lambda: list((workspace / "multirun").rglob("state-*.json")), victim)
        victim.send_signal(signal.SIGSTOP)
        (path,) = (workspace / "multirun").rglob("state-*.json")
        seen = json.loads(path.read_text())
        running = cells(evalrun("status", *GRID, "--json"))[seen["model"], seen["step"]]
        assert (running["state"], running["pid"]) == ("running", victim.pid)
        assert "running:" in evalrun("status").stdout
    for asked in (GRID, ()):
        died = cells(evalrun("status", *asked, "--json"))[seen["model"], seen["step"]]
        assert (died["state"], died["pid"], died["host"]) == ("died", victim.pid, seen["host"])
        assert died["seen_ms"] == seen["seen_ms"]
    assert "ended without a word" in evalrun("status", *GRID).stdout
    assert evalrun(*SWEEP).returncode == 0
    assert evalrun("status", *GRID).returncode == 0


@pytest.mark.slow
def test_status_loads_nothing_heavy_and_leaves_a_busy_store_alone(evalrun: Run, evaluated: Path) -> None:
    code = (
        "import json, sys; from evalrun.cli import main; "
        "main(['status', 'model=toy/toy-s', 'step=1,2', 'task=alpha']); main(['status']); "
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=evaluated, env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout.count("2 of 2 jobs done") == 1
    assert found.stdout.count("8 of 8 jobs done") == 1
    assert found.stdout.splitlines()[-1] == "[]"
    shutil.rmtree(evaluated / "multirun")  # another machine has the journal: the store knows all the same
    assert evalrun("status", "model=toy/toy-s", "step=1,2", "task=alpha").returncode == 0


class Server:
    """An MLflow server that can be killed and started again with what it had."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port(0)
        self.address = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        store = Store(TrackingConf(uri=None, root=str(self.folder)))
        command = [
            *mlflow_ui.command(store._link, self.port),
            "--artifacts-destination",
            (self.folder / "served").as_uri(),
        ]
        command[command.index("--default-artifact-root") + 1] = "mlflow-artifacts:/"
        self.folder.mkdir(exist_ok=True)
        with open(self.folder / "server.log", "a") as log:
            self.process = subprocess.Popen(
                command, env=mlflow_ui.environment(), stdout=log, stderr=log, text=True, start_new_session=True
            )
        wait_for(self.address, self.process)

    def stop(self) -> None:
        if self.process is not None:
            stop(self.process)
            self.process = None


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server(tmp_path / "server")
    server.start()
    yield server
    server.stop()


def told(uri: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """What a store holds, without what differs from one computation to the next."""
    client = MlflowClient(uri)
    table = Store(TrackingConf(uri=uri, root="unused")).table("toy").drop(columns=["run_id", "finished_ms"])
    runs = {}
    for run in client.search_runs([client.get_experiment_by_name("toy").experiment_id]):
        folders = ("", "items", "results")
        artifacts = [file.path for folder in folders for file in client.list_artifacts(run.info.run_id, folder)]
        tags = {k: v for k, v in run.data.tags.items() if not k.startswith(("evalrun.about", "mlflow.runColor"))}
        name = run.info.run_name
        assert name not in runs, "two runs of one checkpoint"
        config = client.download_artifacts(run.info.run_id, "config.yaml")
        text = Path(config).read_text()
        runs[name] = (run.info.status, tags, run.data.params, sorted(artifacts), text)
    return table, runs


@pytest.mark.release
@pytest.mark.slow
def test_what_a_server_that_died_did_not_take_is_synced(
    evalrun: Run, workspace: Path, tmp_path: Path, server: Server
) -> None:
    """Afterwards the store is the one of a sweep that nothing disturbed."""
    remote = ("tracking=server", f"tracking.uri={server.address}")
    quick = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
    with sweeping(workspace, *SWEEP, *remote, env=quick) as process:
        until(lambda: results(workspace), process)
        server.stop()
        said, _ = process.communicate(timeout=240)
    assert process.returncode == 1
    assert "python -m evalrun sync" in said
    assert "Traceback" not in said, said
    assert len(results(workspace)) == 16, "what needs no server is computed without it"

    unknown = evalrun("status", *GRID, *remote)
    assert unknown.returncode == 1
    assert "whether MLflow has what is done is not known" in unknown.stdout
    assert cells(evalrun("status", *GRID, *remote, "--json"))["toy-m", 8]["undelivered"] is None
    down = evalrun("sync", *remote)
    assert down.returncode == 1
    assert "cannot be reached" in down.stderr

    server.start()
    shown = evalrun("status", *GRID, *remote)
    assert shown.returncode == 1
    assert "undelivered:" in shown.stdout
    assert f"python -m evalrun sync 'model=glob(toy/*)' step=1,2,...,8 task=alpha,beta {remote[0]}" in shown.stdout
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    together = [
        subprocess.Popen(
            [sys.executable, "-m", "evalrun", "sync", *remote, f"tracking.root={tmp_path / name}"],
            cwd=workspace, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for name in ("one", "two")
    ]  # fmt: skip
    for process in together:
        said, _ = process.communicate(timeout=240)
        assert process.returncode == 0, said
    assert evalrun("status", *GRID, *remote).returncode == 0
    assert evalrun("status", *remote).returncode == 0
    last = evalrun("sync", *GRID, *remote)
    assert last.returncode == 0, last.stderr
    assert "nothing to deliver: 16 results" in last.stdout
    synced = told(server.address)

    shutil.move(workspace / "multirun", workspace / "disturbed")
    server.stop()
    server.folder = tmp_path / "undisturbed"
    server.start()
    assert evalrun(*SWEEP, *remote).returncode == 0
    undisturbed = told(server.address)
    pd.testing.assert_frame_equal(synced[0], undisturbed[0])
    assert synced[1] == undisturbed[1]
    again = evalrun(*SWEEP, *remote)
    assert "8 of 8 jobs found done" in again.stdout


@pytest.mark.slow
def test_sync_fills_a_local_store_in_bulk_as_the_sweep_did(evalrun: Run, evaluated: Path) -> None:
    uri = f"sqlite:///{evaluated / 'mlruns' / 'mlflow.db'}"
    before = told(uri)
    shutil.rmtree(evaluated / "mlruns")
    assert "undelivered" in evalrun("status", *GRID).stdout
    another = "tracking.root=another"  # this process's MLflow still has the deleted file open
    (damaged, *_) = sorted((evaluated / "multirun" / "toy" / "toy-s" / "step1").rglob("beta-*.parquet"))
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-1])
    some = evalrun("sync", another)
    assert some.returncode == 1
    assert "15 of 16 results delivered" in some.stdout
    assert f"{damaged.stem}.json is damaged" in some.stderr
    damaged.write_bytes(whole)
    rest = evalrun("sync", another)
    assert rest.returncode == 0, rest.stderr
    assert "1 of 16 results delivered" in rest.stdout
    after = told(f"sqlite:///{evaluated / 'another' / 'mlflow.db'}")
    pd.testing.assert_frame_equal(after[0], before[0])
    assert after[1] == before[1]

    other = evalrun("sync", *SWEEP, "limit=3", "tracking.root=third")
    assert "nothing to deliver: 0 results" in other.stdout, "what shares its folders is another grid's"
    named = evalrun("sync", *SWEEP, "tracking.root=third")  # a sweep of its own, because its words are others
    assert "16 of 16 results delivered" in named.stdout, named.stderr
    analyze = shlex.join(["python", "-m", "evalrun", "analyze", *SWEEP[1:], "tracking.root=third"])
    assert named.stdout.endswith(f"next: {analyze}\n")
    _, runs = told(f"sqlite:///{evaluated / 'third' / 'mlflow.db'}")
    assert {len(json.loads(run[1]["evalrun.sweeps"])) for run in runs.values()} == {2}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("status", "--jsn"), "status does not know '--jsn'"),
        (("status", "step=1"), "no model is given"),
        (("sync", "--json"), "sync does not know '--json'"),
        (("sync", "model=toy/toy-x", "step=1"), "did you mean 'toy/toy-s'"),
    ],
)
def test_bad_words_are_one_sentence(inside: Run, words: tuple[str, ...], said: str) -> None:
    found = inside(*words)
    assert found.returncode == 2
    assert said in found.stderr
    assert "Traceback" not in found.stderr
