"""A browser, a report of a whole study, and MLflow's own page on a small sweep.

Each test leaves what it saw as PNG in the folder that EVALRUN_SCREENSHOTS names, else in pytest's own.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from evalrun.commands.table_input import config_of
from evalrun.config.schema import TrackingConf
from evalrun.core.columns import TABLE_COLUMNS
from evalrun.reporting.build import run_analysis
from evalrun.tracking import Store
from helpers import CHECKPOINT, MODEL, ROOT, TASK, make_rows, write_rows

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install playwright")
_CHROMIUM = Path("/usr/bin/chromium")
SIZES = {"toy-s": 1000, "toy-m": 3000}
COMMAND = ("-m", "model=glob(toy/*)", "step=1,2,4,8", "task=alpha,beta", "analysis=interaction")
Shot = Callable[[Any, str], None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.release)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium: the system's, else the one that Playwright installed."""
    with sync_api.sync_playwright() as playwright:
        own = {"executable_path": str(_CHROMIUM)} if _CHROMIUM.exists() else {}
        try:
            found = playwright.chromium.launch(args=["--no-sandbox", "--disable-gpu"], **own)
        except sync_api.Error:
            pytest.skip(f"no browser: install {_CHROMIUM}, or run `playwright install chromium`")
        yield found
        found.close()


@contextmanager
def watched(browser: Any, address: str, width: int) -> Iterator[Any]:
    """A page, freshly opened; what goes wrong in it, or leaves it, fails the test."""
    context = browser.new_context(viewport={"width": width, "height": 900})
    opened = context.new_page()
    wrong: list[str] = []
    opened.on("console", lambda said: wrong.append(said.text))
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("request", lambda asked: wrong.append(asked.url) if asked.url != address else None)
    opened.goto(address)
    yield opened
    context.close()
    assert wrong == []


@pytest.fixture(scope="session")
def shot(tmp_path_factory: pytest.TempPathFactory) -> Shot:
    """Save what a page shows."""
    folder = Path(os.environ.get("EVALRUN_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return lambda page, name: page.screenshot(path=folder / f"{name}.png") and None


def study(models: int = 8, tasks: int = 12, steps: int = 8, run: str | None = None) -> pd.DataFrame:
    """A tidy table: the first task falls, the second rises, the others wander; all from one run, or each from its."""
    generator = np.random.default_rng(1)
    rows = []
    for t, m, s in itertools.product(range(tasks), range(models), range(steps)):
        start, slope = {0: (0.85, -0.09), 1: (0.25, 0.09)}.get(t, (0.5, 0.0))
        size = 1e9 * (m + 1)
        rows.append(
            {
                "suite": "big",
                "model": f"big-{m + 1}b",
                "step": 1000 * 2**s,
                "tokens": 2e9 * 2**s,
                "seed": np.nan,
                "n_params": size,
                "n_params_nonembedding": size,
                "n_params_nominal": size,
                "flops": size * 2**s,
                "task": f"task_{t:02d}",
                "title": f"Task <{t:02d}>",
                "metric": "acc",
                "role": "",
                "primary": True,
                "cause": ("strong prior", "distractor task")[t % 2],
                "value": start + slope * s,
                "stderr": 0.01,
                "n": 1200,
                "chance": 0.25,
                "higher_is_better": True,
                "settings": "",
                "weights": f"{m}-{s}",
                "task_key": "",
                "finished_ms": 1,
                "run_id": run or f"run{m}x{s}",
            }
        )
    table = pd.DataFrame(rows, columns=list(TABLE_COLUMNS))
    return table.assign(value=table["value"] + generator.normal(0, 0.02, len(table)))


def report_of(table: pd.DataFrame, folder: Path, runs_at: str) -> Path:
    """The page that `evalrun analyze` would write."""
    given = {"methods": ["ols", "cluster"], "corrections": ["fdr_bh"], "items": False, "draws": 19}
    conf: Any = SimpleNamespace(**{**vars(config_of({}).analysis), **given})
    return run_analysis(table, conf, "big", folder, {}, runs_at=runs_at).files["report.html"]


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of 8 models at 8 steps on 12 tasks."""
    folder = tmp_path_factory.mktemp("report")
    return report_of(study(), folder, "http://127.0.0.1:5000/#/experiments/1/runs/{run}?x=1")


@pytest.fixture(scope="session")
def swept(toy_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder after a sweep of two models on two tasks, one of a cause and one control."""
    folder = tmp_path_factory.mktemp("user")
    for name, n in SIZES.items():
        path = folder / "conf" / "model" / "toy" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(MODEL.format(name=name, n=n))
    (folder / "conf" / "checkpoint").mkdir()
    (folder / "conf" / "checkpoint" / "toy.yaml").write_text(CHECKPOINT)
    (folder / "conf" / "task").mkdir()
    for name, shift, more in (("alpha", 0, "cause: strong prior"), ("beta", 5, "role: control")):
        text = TASK.format(name=name, title=name.title()).replace("version: 1.0,", f"version: 1.0, {more},")
        (folder / "conf" / "task" / f"{name}.yaml").write_text(text)
        write_rows(folder / "data" / f"{name}.jsonl", make_rows(12, shift))
    shutil.copytree(toy_models, folder / "models")
    subprocess.run(_evalrun(*COMMAND), cwd=folder, env=_environment(), check=True, timeout=300, capture_output=True)
    return folder


def _evalrun(*words: str) -> list[str]:
    return [sys.executable, "-m", "evalrun", *words]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1"}


@pytest.fixture(scope="session")
def ui(swept: Path) -> Iterator[list[str]]:
    """`evalrun ui` on it: the lines that it prints."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        _evalrun("ui", "--port", str(port)), cwd=swept, env=_environment(),
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline().rstrip("\n") for _ in range(3)]
        until = time.monotonic() + 120
        while time.monotonic() < until:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
                break
            except OSError:
                assert process.poll() is None, "the server ended"
                time.sleep(0.3)
        yield lines
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # the server and its worker
        process.wait(30)


@pytest.fixture(scope="session")
def store(swept: Path) -> Store:
    """What the sweep filed."""
    return Store(TrackingConf(uri=None, root=str(swept / "mlruns")))
