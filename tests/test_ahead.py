"""The next checkpoint is fetched while this one is scored, and never costs a sweep anything else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from evalrun import checkpoints
from evalrun.checkpoints import read_ahead
from evalrun.core.records import Checkpoint
from helpers import ROOT, Run
from local_hub import serve

REPOSITORY = "EleutherAI/pythia-70m"


def local(folder: Path, step: int) -> Checkpoint:
    return Checkpoint("toy", "toy-s", 1, 1, 1, step, step, None, str(folder / f"step{step}"), None)


def threads() -> list[str]:
    import threading

    return [thread.name for thread in threading.enumerate() if thread.name == "read-ahead"]


def test_one_ahead_in_order(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = workspace / "models" / "toy-s"
    cells = [local(folder, step) for step in (1, 1, 2, 4)]  # the first is scored twice, in two ways
    read: list[Path] = []
    monkeypatch.setattr(read_ahead, "_read", read.append)
    jobs = read_ahead.Ahead()
    jobs.start(cells[0], folder / "step1")  # nothing is expected: a single run
    jobs.wait()
    assert read == []
    jobs.expect(cells)
    for cell in cells:
        jobs.start(cell, Path(cell.location))
        jobs.wait()
    wanted = [folder / f"step{step}" / "model.safetensors" for step in (2, 2, 4)]
    assert read == wanted
    assert threads() == []


def test_what_fails_ahead_is_left_to_its_job(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = workspace / "models" / "toy-s"
    jobs = read_ahead.Ahead()
    jobs.expect([local(folder, 1), local(folder, 3)])  # there is no step 3
    jobs.start(local(folder, 1), folder / "step1")
    jobs.wait()
    assert threads() == []


def test_a_full_disk_is_not_filled_further(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Checkpoint] = []
    monkeypatch.setattr(checkpoints, "download", lambda cell, trust: asked.append(cell) or workspace)
    folder = workspace / "models" / "toy-s" / "step1"
    here = local(folder.parent, 1)
    following = Checkpoint("pythia", "pythia-70m", 1, 1, 1, 2, 2, None, REPOSITORY, "step2")
    jobs = read_ahead.Ahead()
    size = (folder / "model.safetensors").stat().st_size
    for free, wanted in ((2 * size - 1, 0), (2 * size + 1, 1)):
        monkeypatch.setattr(read_ahead.shutil, "disk_usage", lambda path, free=free: SimpleNamespace(free=free))
        jobs.expect([here, following])
        jobs.start(here, folder)
        jobs.wait()
        assert len(asked) == wanted


@pytest.mark.slow
def test_a_hub_checkpoint_is_there_when_its_job_begins(evalrun: Run, workspace: Path, tmp_path: Path) -> None:
    """The weights of step 2 are asked for, once, before the job of step 2 asks which commit that revision is."""
    online = {"HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "cache"), "HF_HUB_DISABLE_XET": "1"}
    with serve() as hub:
        for step in (1, 2):
            hub.add(REPOSITORY, f"step{step}", workspace / "models" / "toy-s" / f"step{step}")
        online["HF_ENDPOINT"] = hub.url
        words = ("-m", "model=pythia-70m", "step=1,2", "task=alpha", "analysis.after_sweep=false")
        found = evalrun(*words, env=online)
        assert found.returncode == 0, found.stderr
        log = next((workspace / "multirun").rglob("step1/evalrun.log")).read_text()
        assert "Traceback" not in log
        commit = hub.commit(REPOSITORY, "step2")
    asked = list(hub.requests)
    weights = [
        i for i, request in enumerate(asked) if request == f"GET /{REPOSITORY}/resolve/{commit}/model.safetensors"
    ]
    commits = [i for i, request in enumerate(asked) if request.endswith("/revision/step2")]
    assert len(weights) == 1, asked
    assert weights[0] < commits[-1], asked


@pytest.mark.slow
def test_ctrl_c_does_not_wait_for_a_download(workspace: Path, tmp_path: Path) -> None:
    with serve() as hub:
        for step in (1, 2):
            hub.add(REPOSITORY, f"step{step}", workspace / "models" / "toy-s" / f"step{step}")
        hub.silent = hub.commit(REPOSITORY, "step2")  # its files are begun and never end
        environment = {
            **os.environ, "PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1",
            "HF_HOME": str(tmp_path / "cache"), "HF_ENDPOINT": hub.url,
        }  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-m", "evalrun", "-m", "model=pythia-70m", "step=1,2", "task=alpha"],
            cwd=workspace, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        deadline = time.monotonic() + 120
        while not list((workspace / "multirun").rglob("step1/results/*.json")) and time.monotonic() < deadline:
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.05)
        time.sleep(1)  # the second job waits for its files
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, said = process.communicate(timeout=30)
        assert time.monotonic() - began < 10
    assert process.returncode == 130, said
    assert "The same command goes on from there:\n  python -m evalrun -m model=pythia-70m" in said
    assert "Traceback" not in said
