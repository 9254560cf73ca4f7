"""Launchers that are not evalrun's, as Hydra's own `basic`: refused in a sentence before anything is computed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

SWEEP = ("-m", "model=toy/toy-s", "step=1,4,8", "task=alpha", "analysis.after_sweep=false")
WATCH = ("watch", "path=models/toy-s", "task=alpha", "tokens_per_step=10", "--once")


@pytest.mark.parametrize("words", [SWEEP, WATCH], ids=["sweep", "watch"])
def test_hydras_own_launcher_is_refused(
    workspace: Path, evalrun: Callable[..., subprocess.CompletedProcess[str]], words: tuple[str, ...]
) -> None:
    done = evalrun(*words, "hydra/launcher=basic")
    assert done.returncode == 2, done.stderr
    (said,) = done.stderr.splitlines()
    assert said.startswith("evalrun: hydra/launcher=basic is no launcher of evalrun's")
    assert "choose from: local, processes, ray, slurm" in said
    assert not [*(workspace / "multirun").rglob("results/*")]


def test_hydras_own_launcher_is_refused_in_an_experiment_too(
    workspace: Path, evalrun: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    file = workspace / "conf" / "experiment" / "basic.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text("# @package _global_\ndefaults:\n  - override /hydra/launcher: basic\n")
    done = evalrun(*SWEEP, "experiment=basic")
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("evalrun: hydra/launcher=basic is no launcher of evalrun's")
