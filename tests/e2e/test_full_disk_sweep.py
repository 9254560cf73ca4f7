"""Hydra's own files on a full disk: one sentence, as for everything else that a user can do something about."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers import Run

FULL = Path("/dev/full")  # what is written there finds no space
SWEEP = ("-m", "model=toy/toy-s", "step=1,2", "task=alpha", "analysis.after_sweep=false")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")]


def test_no_space_for_the_sweep(evalrun: Run, workspace: Path) -> None:
    (workspace / "multirun").mkdir()
    (workspace / "multirun" / "multirun.yaml").symlink_to(FULL)
    found = evalrun(*SWEEP)
    assert found.returncode == 1
    assert "Traceback" not in found.stderr
    (said,) = [line for line in found.stderr.splitlines() if line]
    assert said.startswith("evalrun: '")
    assert "multirun' cannot be written (No space left on device): free some space" in said


def test_no_space_for_one_job(evalrun: Run, workspace: Path) -> None:
    folder = workspace / "multirun" / "toy" / "toy-s" / "step1" / ".hydra"
    folder.mkdir(parents=True)
    (folder / "config.yaml").symlink_to(FULL)
    found = evalrun(*SWEEP)
    assert found.returncode == 1
    assert "1 of 2 jobs failed:" in found.stderr
    assert "toy-s step 1: its folder cannot be written (No space left on device): free some space" in found.stderr
    (folder / "config.yaml").unlink()
    again = evalrun(*SWEEP)
    assert again.returncode == 0, again.stderr
    assert "1 of 2 jobs found done" in again.stdout
