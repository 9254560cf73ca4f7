"""Shared: no hub, a clean folder to work in, the command as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

import durations
import forked
from helpers import EVALUATED, ROOT, made_once, make_checkpoint, make_workspace, move_results

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ.setdefault("OMP_NUM_THREADS", "1")
# lm-eval draws its bootstraps in a pool that it forks: among the threads of a process of tests that may never end.
os.environ["DISABLE_MULTIPROC"] = "1"
os.environ["PYTHONPATH"] = str(ROOT / "src")  # for the commands that the tests start
# A shell ignores Ctrl-C for what it runs in the background, and so would what the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
# No deadline: a busy machine is no failure. `make test-all` takes the thorough profile.
settings.register_profile("quick", deadline=None, max_examples=25)
settings.register_profile("thorough", deadline=None, max_examples=200)
settings.load_profile("quick")
_BEFORE = pytest.StashKey[float]()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What was measured to cost more than a test of `make test` may is marked `release`: `make test-all` runs it."""
    budget = tomllib.loads((ROOT / "tests" / "budget.toml").read_text())
    known = json.loads(durations.KEPT.read_text())["tests"]
    for item in items:
        if durations.cost_of(item.nodeid, known) > budget["most"] and item.nodeid not in budget["kept"]:
            item.add_marker("release")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    item.stash[_BEFORE] = durations.spent()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    if call.when == "teardown":  # for tests/durations.json
        cost = durations.spent() - item.stash[_BEFORE]
        item.user_properties.append((durations.PROPERTY, f"{cost:.3f}"))
    return (yield)


@pytest.fixture(scope="session", autouse=True)
def _own_caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or fills the user's hub cache."""
    os.environ["HF_HOME"] = str(tmp_path_factory.mktemp("hf"))
    yield
    forked.close()


@pytest.fixture(scope="session")
def toy_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models x four steps."""

    def make(folder: Path) -> None:
        for number, (name, hidden) in enumerate((("toy-s", 16), ("toy-m", 24))):
            for step in (1, 2, 4, 8):
                make_checkpoint(folder / name / f"step{step}", seed=100 * number + step, hidden=hidden)

    return made_once(tmp_path_factory, "toy_models", make)


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> None:
    """MLflow's databases are copies of one: to make each costs seconds."""
    forked.make_databases_from_one(tmp_path_factory.mktemp("empty"))


@pytest.fixture
def workspace(tmp_path: Path, toy_models: Path, databases: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder: ./conf with a suite and two tasks of their own, their models and data; the current folder."""
    folder = make_workspace(tmp_path / "user", toy_models)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def evaluated_once(tmp_path_factory: pytest.TempPathFactory, toy_models: Path) -> Path:
    """A workspace after the sweep EVALUATED, which nobody may change."""

    def make(folder: Path) -> None:
        done = forked.run(EVALUATED, make_workspace(folder, toy_models), os.environ, 300)
        assert done.returncode == 0, done.stderr

    return made_once(tmp_path_factory, "evaluated", make)


@pytest.fixture
def evaluated(workspace: Path, evaluated_once: Path) -> Path:
    """The workspace after the sweep EVALUATED: for tests that look at results and do not care how they were made."""
    move_results(evaluated_once, workspace)
    return workspace


@pytest.fixture
def evalrun(workspace: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `python -m evalrun ...` in the workspace, as a user does; returns the finished process."""

    def run(*words: str, timeout: float = 300, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return forked.run(words, workspace, {**os.environ, **(env or {})}, timeout)

    return run


@pytest.fixture
def inside(workspace: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`evalrun` without a process of its own: for tables of mistakes, which are answered before anything runs."""
    from evalrun import cli

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        capsys.readouterr()
        code = cli.main(words)
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(words, code, out, err)

    return run
