"""Shared: no hub, a clean folder to work in, the command as a user runs it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

import forked
from helpers import CHECKPOINT, MODEL, ROOT, TASK, make_checkpoint, make_rows, write_rows

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["PYTHONPATH"] = str(ROOT / "src")  # for the commands that the tests start
# A shell ignores Ctrl-C for what it runs in the background, and so would what the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
# No deadline: a busy machine is no failure. `make test-all` takes the thorough profile.
settings.register_profile("quick", deadline=None, max_examples=25)
settings.register_profile("thorough", deadline=None, max_examples=200)
settings.load_profile("quick")


@pytest.fixture(scope="session", autouse=True)
def _own_caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or fills the user's hub cache."""
    os.environ["HF_HOME"] = str(tmp_path_factory.mktemp("hf"))
    yield
    forked.close()


@pytest.fixture(scope="session")
def toy_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models x four steps."""
    root = tmp_path_factory.mktemp("toy") / "models"
    for number, (name, hidden) in enumerate((("toy-s", 16), ("toy-m", 24))):
        for step in (1, 2, 4, 8):
            make_checkpoint(root / name / f"step{step}", seed=100 * number + step, hidden=hidden)
    return root


@pytest.fixture
def workspace(tmp_path: Path, toy_models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder: ./conf with a suite and two tasks of their own, their models and data; the current folder."""
    folder = tmp_path / "user"
    for name, n in (("toy-s", 1000), ("toy-m", 3000)):
        path = folder / "conf" / "model" / "toy" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(MODEL.format(name=name, n=n))
    (folder / "conf" / "checkpoint").mkdir()
    (folder / "conf" / "checkpoint" / "toy.yaml").write_text(CHECKPOINT)
    (folder / "conf" / "task").mkdir()
    for name, shift in (("alpha", 0), ("beta", 5)):
        (folder / "conf" / "task" / f"{name}.yaml").write_text(TASK.format(name=name, title=name.title()))
        write_rows(folder / "data" / f"{name}.jsonl", make_rows(12, shift))
    shutil.copytree(toy_models, folder / "models")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def evalrun(workspace: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `python -m evalrun ...` in the workspace, as a user does; returns the finished process."""

    def run(*words: str, timeout: float = 300, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return forked.run(words, workspace, {**os.environ, **(env or {})}, timeout)

    return run
