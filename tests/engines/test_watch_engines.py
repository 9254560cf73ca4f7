"""Three trainings at once, one killed and started again into its folder, under a watch that is killed, too."""

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
from evalrun.tracking.alarm_tags import looks_of
from helpers import ROOT

STEPS = range(4, 25, 4)
TRAINING = """\
import sys, time, transformers
from pathlib import Path
from training_runs import train

class Slow(transformers.TrainerCallback):
    def on_save(self, *given, **named):
        time.sleep(4)

train(Path(sys.argv[1]), steps=24, save=4, seed=int(sys.argv[2]), callbacks=[Slow()])
"""


def wait_for(what: Callable[[], bool], seconds: float = 400) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.2)


@pytest.mark.engines
@pytest.mark.timeout(1200)
def test_three_trainings_one_killed_under_a_watch_that_is_killed(workspace: Path) -> None:
    env = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT / 'tests'}"}
    out, err = workspace / "out.txt", workspace / "err.txt"
    words = ("paths=runs/*", "task=alpha", "watch.poll_s=1", "watch.retry_s=2", "watch.command='tee -a heard.json'")
    words = (*words, "analysis.alpha=0.99", "watch.half_by=1")

    def start(*command: str) -> subprocess.Popen[bytes]:
        with out.open("a") as said, err.open("a") as warned:
            return subprocess.Popen([sys.executable, *command], cwd=workspace, env=env, stdout=said, stderr=warned)

    def training(name: str, seed: int) -> subprocess.Popen[bytes]:
        return start("-c", TRAINING, f"runs/{name}", str(seed))

    watch = start("-m", "evalrun", "watch", *words)
    trainings = {name: training(name, seed) for seed, name in enumerate("abc")}
    try:
        wait_for(lambda: (workspace / "runs/b/checkpoint-8/trainer_state.json").exists())
        trainings["b"].kill()
        trainings["b"].wait()
        wait_for(lambda: " step 4, " in out.read_text())
        watch.kill()
        watch.wait()
        trainings["b"] = training("b", 1)
        watch = start("-m", "evalrun", "watch", *words)
        for name, one in trainings.items():
            assert one.wait(timeout=400) == 0, name
        wait_for(lambda: all(f"{name} step 24, " in out.read_text() for name in trainings))
        watch.send_signal(signal.SIGTERM)
        assert watch.wait(timeout=60) == 130
    finally:
        for process in (watch, *trainings.values()):
            process.kill()
    assert "Traceback" not in err.read_text()
    assert "steps go back: step 4 was written after step 8" in err.read_text() or "runs/b" in err.read_text()
    store = Store(TrackingConf(uri=None, root=str(workspace / "mlruns")))
    rows = store.table("local").query("metric == 'acc'")
    for name in trainings:
        own = [run for run in store.past("local") if run.model == name]
        assert sorted(set(rows[rows["model"] == name]["step"])) == list(STEPS)
        looks = sorted(look.number for run in own for look in looks_of(run.tags).values() if look.number)
        assert looks == list(range(1, len(looks) + 1)), name  # none twice, none left out
        assert name == "b" or len(own) == len(STEPS)  # each once
    text = (workspace / "heard.json").read_text() if (workspace / "heard.json").exists() else ""
    heard, at = [], 0
    while at < len(text):
        event, at = json.JSONDecoder().raw_decode(text, at)
        heard.append((event["model"], event["step"], event["run_id"]))
    assert len(heard) == len(set(heard))  # alarms are said once
