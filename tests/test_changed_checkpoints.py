"""Checkpoints that change: while they are read, and after they were scored, whatever their dates say."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from bad_checkpoints import with_shards
from evalrun import pipeline
from helpers import Run


def test_a_checkpoint_that_grows_while_it_is_read_is_refused(
    inside: Run, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, load = workspace / "models" / "toy-s" / "step4", pipeline.allowed.load

    def slowly(*given: Any) -> Any:
        loaded = load(*given)
        (folder / "added_tokens.json").write_text("{}")
        return loaded

    monkeypatch.setattr(pipeline.allowed, "load", slowly)
    done = inside("model=toy/toy-s", "step=4", "task=alpha")
    assert done.returncode == 1
    assert "step4' of toy-s step 4 changed while it was read (added_tokens.json): run the same command" in done.stderr
    assert not list(workspace.glob("multirun/toy/toy-s/step4/results/*.json"))
    monkeypatch.undo()
    os.chdir(workspace)
    assert inside("model=toy/toy-s", "step=4", "task=alpha").returncode == 0


def test_weights_that_were_replaced_with_their_old_date_are_not_done(inside: Run, evaluated: Path) -> None:
    words = ("status", "model=toy/toy-s", "step=1,2,4,8", "task=alpha")
    before = inside(*words).stdout
    assert "4 of 4 jobs done" in before
    one, other = (evaluated / "models" / "toy-s" / f"step{step}" / "model.safetensors" for step in (4, 8))
    date = one.stat().st_mtime - 86400
    shutil.copy(other, one)
    os.utime(one, (date, date))
    assert "3 of 4 jobs done" in inside(*words).stdout


def test_weights_that_were_replaced_are_not_done_by_results_of_a_clock_that_was_ahead(
    inside: Run, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, now = ("model=toy/toy-s", "step=4", "task=alpha"), time.time
    with monkeypatch.context() as ahead:
        ahead.setattr(time, "time", lambda: now() + 86400)
        assert inside(*words).returncode == 0
    assert "1 of 1 job done" in inside("status", *words).stdout
    one, other = (workspace / "models" / "toy-s" / f"step{step}" / "model.safetensors" for step in (4, 8))
    shutil.copy(other, one)
    assert "0 of 1 job done" in inside("status", *words).stdout
    assert "  jobs  0 of 1 done" in inside("plan", *words).stdout
    assert inside(*words, "allow_shared_weights=true").returncode == 0
    assert "1 of 1 job done" in inside("status", *words).stdout


def test_steps_says_why_a_checkpoint_is_refused(inside: Run, workspace: Path) -> None:
    with_shards(workspace / "models" / "toy-s" / "step4")
    done = inside("steps", "model=local", "path=models/toy-s", "tokens_per_step=1")
    assert done.returncode == 0
    assert "    4       4  step4  refused" in done.stdout
    assert "  note: checkpoint of toy-s step 4 is refused: 'models/toy-s/step4' holds two models" in done.stdout
    allowed = inside("steps", "model=local", "path=models/toy-s", "tokens_per_step=1", "allow_unused_weights=true")
    assert "refused" not in allowed.stdout
