"""A sweep over served checkpoints: this process' own results, and nothing is lost in a kill."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from helpers import ROOT, Run, write_told

PROMPTS = ("the cat sat", "a b c d", "yes no", "question : dog ran", "under mat", "which tree", "a dog", "no answer")
SERVE = f"scorer.serve='{sys.executable} {ROOT / 'tests' / 'completion_server.py'} {{path}} --port {{port}}'"


@pytest.fixture(autouse=True)
def told(workspace: Path) -> None:
    write_told(workspace, PROMPTS, "dog", 6)


def items(workspace: Path, scorer: str) -> dict[str, list[dict[str, object]]]:
    """Task -> items of step 1 by a scorer, what it says of them alone."""
    found = {}
    for path in sorted((workspace / "multirun" / "toy" / "toy-s" / "step1" / "results").glob("*.json")):
        record = json.loads(path.read_text())
        if record["settings"]["scorer"] == scorer:
            rows = pq.read_table(path.with_suffix(".parquet")).to_pylist()
            found[record["task"]] = [{key: row[key] for key in ("doc_id", "prediction", "response")} for row in rows]
    return found


@pytest.mark.release
def test_a_served_checkpoint_survives_a_kill_and_gives_what_this_process_computes(
    workspace: Path, evalrun: Run
) -> None:
    words = ["model=toy/toy-s", "step=1", "task=alpha,told"]
    served = [*words, "scorer=server", "scorer.concurrency=2"]
    slow, fast = SERVE.replace("{port}", "{port} pause=0.5"), SERVE.replace("{port}", "{port} tells=true")
    secret = {"EVALRUN_API_KEY": "sk-very-secret"}
    job = subprocess.Popen(
        [sys.executable, "-m", "evalrun", *served, slow], cwd=workspace, env=os.environ | secret,
        stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    folder = workspace / "multirun" / "toy" / "toy-s" / "step1"

    def kept() -> int:
        return sum(path.read_text().count("\n") for path in (folder / "answers").glob("*"))

    while kept() < 3:
        assert job.poll() is None
        time.sleep(0.02)
    os.kill(job.pid, signal.SIGKILL)
    job.wait()
    assert no_process_has(str(workspace / "models"))  # its server, too
    found = kept()
    again = evalrun(*served, fast, env=secret)
    assert again.returncode == 0, again.stderr
    assert f"{found} texts of {len(PROMPTS)} kept from an earlier start" in again.stderr
    assert "weights checked: log-probabilities of a fixed text are" in again.stderr
    assert (folder / "served.log").read_text().count("a text") == len(PROMPTS) - found
    assert not (folder / "answers").exists()
    assert evalrun(*words).returncode == 0
    assert items(workspace, "server") == items(workspace, "shared_prefix")
    for path in [*(workspace / "multirun").rglob("*"), *(workspace / "mlruns").rglob("*")]:
        assert path.is_dir() or b"very-secret" not in path.read_bytes(), path


def no_process_has(word: str) -> bool:
    """Whether within some seconds no process has a word in its command line."""
    for _ in range(300):
        lines = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                lines.append(path.read_text(errors="replace"))
        if not any(word in line for line in lines):
            return True
        time.sleep(0.05)
    return False


def test_one_running_server_is_not_several_checkpoints(inside: Run) -> None:
    url = "scorer.url=http://127.0.0.1:1"
    done = inside("-m", "model=toy/toy-s", "step=1,2", "task=told", "scorer=server", url, "scorer.concurrency=0")
    assert done.returncode == 2
    assert "scorer.concurrency is 0: it must be more than 0." in done.stderr
    done = inside("model=toy/toy-s", "step=1", "task=told", "scorer=server")
    assert "scorer=server needs scorer.url of a server that runs, or scorer.serve, the command that" in done.stderr
    done = inside("-m", "model=toy/toy-s", "step=1,2", "task=told", "scorer=server", url)
    assert done.returncode == 2
    assert "a grid of 2 checkpoints, toy-s step 1 and toy-s step 2 among them: the server has one model" in done.stderr
