"""Four processes deliver at once to a store that does not exist yet."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from evalrun.config.schema import TrackingConf
from evalrun.tracking import Store
from helpers import ROOT


@pytest.mark.slow
def test_four_commands_at_once_on_an_empty_store(workspace: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    words = [sys.executable, "-m", "evalrun", "model=toy/toy-s", "task=alpha,beta"]
    commands = [
        subprocess.Popen(
            [*words, f"step={step}"], cwd=workspace, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for step in (1, 2, 4, 8)
    ]  # fmt: skip
    for command in commands:
        _, err = command.communicate(timeout=300)
        assert command.returncode == 0, err
    rows = Store(TrackingConf(uri=None, root=str(workspace / "mlruns"))).table("toy")
    rows = rows[rows["metric"] == "acc"]
    assert len(rows) == 8
    assert rows["run_id"].nunique() == 4
