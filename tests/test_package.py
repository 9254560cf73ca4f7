"""The wheel: it carries the configs and the Hydra plugins, and works from any folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import ROOT


@pytest.mark.release
def test_an_installed_wheel_finds_its_configs_and_the_users(workspace: Path, tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    built = subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path / "dist"), str(ROOT)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    (wheel,) = (tmp_path / "dist").glob("evalrun_checkpoints-*.whl")
    site = tmp_path / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(wheel)], check=True, capture_output=True)
    assert (site / "evalrun" / "conf" / "model" / "pythia-70m.yaml").is_file()
    assert (site / "hydra_plugins" / "evalrun" / "sweeper.py").is_file()
    assert (site / "evalrun" / "commands" / "help" / "plan.txt").is_file()
    assert (site / "evalrun" / "commands" / "help" / "shells" / "evalrun.bash").is_file()
    assert not (site / "hydra_plugins" / "__init__.py").exists()  # a namespace shared with other plugins
    environment = {**os.environ, "PYTHONPATH": str(site)}
    console = [sys.executable, str(site / "bin" / "evalrun")]
    for command in ([sys.executable, "-m", "evalrun"], console):
        shown = subprocess.run(
            [*command, "plan", "model=toy/toy-s,pythia-70m", "step=final", "task=alpha,neqa"],
            cwd=workspace, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert shown.returncode == 0, shown.stderr
        assert "toy-s" in shown.stdout
        assert "143000" in shown.stdout
    ran = subprocess.run(
        [*console, "model=toy/toy-s", "step=8", "task=alpha", "analysis.after_sweep=false"],
        cwd=workspace, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "alpha: acc" in ran.stderr
