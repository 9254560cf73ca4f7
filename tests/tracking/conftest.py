"""Results as the journal would hand them over, with a real Parquet file each."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from evalrun.config.schema import TrackingConf
from evalrun.core.records import Checkpoint, TaskResult
from evalrun.tracking import Store


@pytest.fixture(autouse=True)
def _databases(databases: None) -> None:
    pass


MakeResult = Callable[..., tuple[TaskResult, Path]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What starts a real server of MLflow waits for `make test-all`."""
    for item in items:
        if Path(__file__).parent in item.path.parents and "address" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.release)


def make_cell(model: str = "pythia-70m", step: int = 2000, n_params: int = 70_426_624, **changes: Any) -> Checkpoint:
    """A checkpoint."""
    values: dict[str, Any] = {
        "suite": "pythia",
        "model": model,
        "n_params": n_params,
        "n_params_nonembedding": n_params // 2,
        "n_params_nominal": 70_000_000,
        "step": step,
        "tokens": step * 2_097_152,
        "seed": None,
        "location": f"EleutherAI/{model}",
        "revision": f"step{step}",
    }
    return Checkpoint(**(values | changes))


def make_result(
    folder: Path, task: str = "memo_trap", cell: Checkpoint | None = None, **changes: Any
) -> tuple[TaskResult, Path]:
    """A task's result and the Parquet file of its items; a key says all that the test varies."""
    cell = cell or make_cell()
    folder.mkdir(parents=True, exist_ok=True)
    run_key = f"run-{cell.model}-{cell.step}-{cell.seed}"
    name = hashlib.sha256(f"{run_key}{task}{sorted(changes)}".encode()).hexdigest()[:16]
    path = folder / f"{name}.parquet"
    pd.DataFrame({"item": range(4), "correct": [True, False, True, True]}).to_parquet(path)
    values: dict[str, Any] = {
        "key": f"key-{run_key}-{task}",
        "run_key": run_key,
        "task": task,
        "title": task.replace("_", " ").title(),
        "cause": "strong prior",
        "primary_metric": "acc",
        "higher_is_better": True,
        "metrics": {"acc": 0.625, "acc_norm": 0.5},
        "stderrs": {"acc": 0.0123456789},
        "n": 936,
        "chance": 0.5,
        "cell": cell,
        "weights": "w" * 64,
        "settings": {"scorer": "shared_prefix", "dtype": "float32", "limit": None, "num_fewshot": 0}
        | {"task_digest": "d" * 64, "data_files": [f"data/{task}.jsonl"]},
        "environment": {"torch": "2.13", "device": "cpu"},
        "finished_ms": 1_700_000_000_000 + cell.step,
        "seconds": 12.5,
        "items_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    return TaskResult(**(values | changes)), path


@pytest.fixture
def make(tmp_path: Path) -> MakeResult:
    """`make_result` in this test's folder."""

    def make_here(*args: Any, **changes: Any) -> tuple[TaskResult, Path]:
        return make_result(tmp_path / "journal", *args, **changes)

    return make_here


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An initialised, empty database: making one takes seconds, copying it none."""
    root = tmp_path_factory.mktemp("template")
    Store(TrackingConf(uri=None, root=str(root))).check()
    return root / "mlflow.db"


@pytest.fixture
def store(tmp_path: Path, template: Path) -> Store:
    """A fresh local store."""
    root = tmp_path / "mlruns"
    root.mkdir()
    shutil.copyfile(template, root / "mlflow.db")
    return Store(TrackingConf(uri=None, root=str(root)))


@pytest.fixture(autouse=True)
def _no_tracking_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever MLflow settings the person has must not matter."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
