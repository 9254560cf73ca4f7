"""`python -m evalrun watch` beside a real training."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from evalrun.config.schema import TrackingConf
from evalrun.tracking import Store
from helpers import ROOT, Run
from training_runs import TOKENS_A_STEP, train


def wait_for(what: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.2)


@pytest.mark.slow
def test_a_training_is_watched_while_it_writes(workspace: Path, evalrun: Run) -> None:
    words = ("path=runs/mine", "task=alpha", "watch.poll_s=0.5")
    out, err = workspace / "out.txt", workspace / "err.txt"
    with out.open("w") as said, err.open("w") as warned:
        watch = subprocess.Popen(
            [sys.executable, "-m", "evalrun", "watch", *words], cwd=workspace, stdout=said, stderr=warned,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        )  # fmt: skip
    try:
        wait_for(lambda: "is not there" in err.read_text())
        run = train(workspace / "runs" / "mine", steps=12, save=4)
        wait_for(lambda: "mine step 12" in out.read_text())
        copy_slowly(run / "checkpoint-12", run / "checkpoint-16", 16)
        wait_for(lambda: "mine step 16" in out.read_text())
        time.sleep(1)
        watch.send_signal(signal.SIGTERM)
        assert watch.wait(timeout=60) == 130
    finally:
        watch.kill()
    assert "interrupted after 4 checkpoints" in err.read_text()
    assert "Traceback" not in err.read_text()
    store = Store(TrackingConf(uri=None, root=str(workspace / "mlruns")))
    rows = store.table("local").query("metric == 'acc'")
    assert rows["step"].tolist() == [4, 8, 12, 16]
    assert rows["tokens"].tolist()[:3] == [step * TOKENS_A_STEP for step in (4, 8, 12)]
    assert rows["weights"].nunique() == 3  # 16 is a copy of 12: of the whole of it
    blocks = [line for line in out.read_text().splitlines() if line.startswith("mine step")]
    assert [line.split(",")[0] for line in blocks] == [f"mine step {step}" for step in (4, 8, 12, 16)]
    once = evalrun("watch", *words, "--once")
    assert once.returncode == 0, once.stderr
    assert "4 checkpoints found done" in once.stdout


def copy_slowly(source: Path, target: Path, step: int) -> None:
    """Write a checkpoint in small pieces, its state last, as a slow disk would."""
    target.mkdir()
    files = sorted(source.iterdir(), key=lambda file: file.name == "trainer_state.json")
    for file in files:
        content = file.read_bytes()
        if file.name == "trainer_state.json":
            content = json.dumps({**json.loads(content), "global_step": step}).encode()
        half = len(content) // 2
        with (target / file.name).open("wb") as stream:
            stream.write(content[:half])
            stream.flush()
            time.sleep(0.4)
            stream.write(content[half:])
