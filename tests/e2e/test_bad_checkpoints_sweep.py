"""One sweep over a run with a checkpoint of each bad kind among good ones: the good are scored, the bad are named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bad_checkpoints import BY_THEIR_FILES, BY_THEIR_WEIGHTS
from evalrun.config.schema import TrackingConf
from evalrun.tracking import Store
from helpers import Run, make_checkpoint

GOOD = (10, 1000)  # before and after the others
BAD = {**BY_THEIR_FILES, **BY_THEIR_WEIGHTS}
IN_A_RUN = {"fewer layers": ["has num_hidden_layers 1 and 'step10' has 2"]}  # its siblings tell before it is loaded
PASSED_OVER = ("shards without index", "adapter alone", "sharded state")  # they hold nothing to load: said, no failure


@pytest.mark.slow
def test_the_good_are_scored_and_the_bad_are_named(evalrun: Run, workspace: Path) -> None:
    run = workspace / "runs" / "mine"
    for step in GOOD:
        make_checkpoint(run / f"step{step}", seed=step)
    steps = {kind: 100 + number for number, kind in enumerate(BAD)}
    for kind, step in steps.items():
        shutil.copytree(run / "step10", run / f"step{step}")
        BAD[kind][0](run / f"step{step}")
    words = ("model=local", "path=runs/mine", "step=all", "task=alpha", "tokens_per_step=1")
    done = evalrun("-m", *words, "allow_shared_weights=true", "analysis.after_sweep=false")
    assert done.returncode == 1, done.stderr
    shown = json.loads(evalrun("status", *words, "--json").stdout)
    said = {job["step"]: job for job in shown}
    for kind, step in steps.items():
        named = IN_A_RUN.get(kind, BAD[kind][1])
        if kind in PASSED_OVER:
            assert f"note: step {step} of" in done.stdout, kind
            assert all(part in done.stdout for part in named), kind
        else:
            assert said[step]["state"] == "failed", kind
            assert all(part in str(said[step]) for part in named), (kind, said[step])
            assert all(part in done.stdout + done.stderr for part in named), kind
    assert [said[step]["state"] for step in GOOD] == ["done", "done"]
    assert "LOAD REPORT" not in done.stdout + done.stderr
    rows = Store(TrackingConf(uri=None, root=str(workspace / "mlruns"))).table("local")
    assert sorted(set(rows["step"])) == list(GOOD)
