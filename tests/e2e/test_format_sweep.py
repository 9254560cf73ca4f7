"""A run of a trainer's own checkpoints: listed, planned, scored, found done; with no more than a folder named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers import Run, make_checkpoint
from trainer_files import model_of, save_dcp, save_nanogpt


@pytest.mark.slow
def test_a_folder_of_trainers_files_is_a_run(evalrun: Run, workspace: Path) -> None:
    base = make_checkpoint(workspace / "base", seed=1)
    for step in (10, 20):
        save_nanogpt(workspace / "runs" / "nano" / f"ckpt_{step}.pt", step, seed=step)
        model = model_of(step)
        save_dcp({"model": model.state_dict(), "train_state": {"step": step, "ntokens_seen": 99 * step}},
                 workspace / "runs" / "sharded" / f"step-{step}")  # fmt: skip
        model.save_pretrained(workspace / "runs" / "plain" / f"step-{step}")
    nano = ("model=local", "path=runs/nano", f"model.tokenizer={base}")
    listed = evalrun("steps", *nano)
    assert listed.returncode == 0, listed.stderr
    assert "of format nanogpt" in listed.stdout
    assert f"{10 * 4 * 2 * 64:,}" in listed.stdout
    sharded = ("model=local", "path=runs/sharded", f"checkpoint.config={base}")
    assert "1,980" in evalrun("steps", *sharded).stdout
    how = ("step=all", "task=alpha", "analysis.after_sweep=false")
    assert "2 jobs" in evalrun("plan", *nano, *how).stdout
    for words in (nano, sharded, ("model=local", "path=runs/plain", f"model.tokenizer={base}", "tokens_per_step=99")):
        done = evalrun("-m", *words, *how)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Loading weights" not in done.stderr  # a bar of transformers' for each checkpoint
    again = evalrun("-m", *nano, *how)
    assert "found done" in again.stdout or "nothing" in again.stdout
    metrics = {}
    for run in ("sharded", "plain"):
        kept = [json.loads(file.read_text()) for file in workspace.glob(f"multirun/local/{run}/step*/results/*.json")]
        metrics[run] = {(one["cell"]["step"], one["cell"]["tokens"]): one["metrics"] for one in kept}
    assert metrics["sharded"] == metrics["plain"]
    assert len(metrics["plain"]) == 2
