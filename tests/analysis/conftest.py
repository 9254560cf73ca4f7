"""Tidy tables made by hand, and the published ones where they are at hand."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from evalrun.core.columns import TABLE_COLUMNS

ROOT = Path(__file__).resolve().parents[2]
SIZES = {"tiny-s": 100_000, "tiny-m": 300_000, "tiny-l": 900_000}
Curve = Callable[[int, int], float]


def make_row(**given: Any) -> dict[str, Any]:
    model, step = given.get("model", "tiny-s"), given.get("step", 1)
    size = SIZES.get(model, 100_000)
    seed = given.get("seed", np.nan)
    row = {
        "suite": "tiny",
        "model": model,
        "n_params": size * 1.2,
        "n_params_nonembedding": size * 0.8,
        "n_params_nominal": size,
        "step": step,
        "tokens": step * 4096,
        "seed": seed,
        "flops": 6 * size * 0.8 * step * 4096,
        "task": "tiny_obey",
        "title": "Obey",
        "cause": "strong prior",
        "metric": "acc",
        "value": 0.5,
        "stderr": 0.02,
        "n": 600,
        "chance": 0.5,
        "primary": True,
        "higher_is_better": True,
        "weights": f"{model}-{step}-{seed}",
        "task_key": "key",
        "run_id": "run",
        "settings": "lm_eval float32",
        "disputed": "",
        "finished_ms": 1,
    }
    return {**row, **given}


def make_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame([make_row(**row) for row in rows], columns=list(TABLE_COLUMNS))


def make_curve(values: Sequence[float], **given: Any) -> pd.DataFrame:
    """One model's curve at steps 1, 2, 4, ..."""
    return make_table([{"step": 2**i, "value": value, **given} for i, value in enumerate(values)])


def make_grid(
    models: Sequence[str] = tuple(SIZES),
    steps: Sequence[int] = (1, 2, 4, 8, 16, 32),
    tasks: Sequence[str] = ("tiny_obey", "tiny_recall"),
    seeds: Sequence[float] = (np.nan,),
    **given: Any,
) -> pd.DataFrame:
    """A whole grid with values that no straight plane fits exactly."""
    generator = np.random.default_rng(7)
    rows = []
    for t, task in enumerate(tasks):
        for model in models:
            for step in steps:
                for seed in seeds:
                    slope = 0.05 * (-1) ** t * np.log2(max(step, 1))
                    value = float(np.clip(0.5 + slope + generator.normal(0, 0.03), 0, 1))
                    title = task.replace("_", " ")
                    row = {"task": task, "title": title, "model": model, "step": step, "seed": seed, "value": value}
                    rows.append({**row, **given})
    return make_table(rows)


class Tidy:
    """The makers, as one fixture."""

    row = staticmethod(make_row)
    table = staticmethod(make_table)
    curve = staticmethod(make_curve)
    grid = staticmethod(make_grid)


@pytest.fixture(scope="session")
def tidy() -> type[Tidy]:
    return Tidy


@pytest.fixture(scope="session")
def published_folder() -> Path:
    folder = Path(os.environ.get("EVALRUN_SHARED", ROOT.parent / "shared")) / "data" / "published"
    if not (folder / "all_results.tsv").exists():
        pytest.skip(f"the published results are not at {folder}; set EVALRUN_SHARED to the folder that has them")
    return folder


@pytest.fixture(scope="session")
def published(published_folder: Path) -> pd.DataFrame:
    results = pd.read_csv(published_folder / "all_results.tsv", sep="\t")
    rows = []
    for result in results.itertuples():
        model = result.ModelName.split("/")[1]
        size = float(model[7:-1]) * {"m": 1e6, "b": 1e9}[model[-1]]
        step = int(result.ModelRevision.removeprefix("step"))
        given = {"task": result.Task, "title": result.Task, "value": result.Accuracy, "stderr": result.Accuracy_SE}
        where = {"suite": "pythia", "model": model, "step": step, "tokens": step * 2_097_152, "weights": ""}
        rows.append({**given, **where, "n_params_nominal": size, "n_params": size})
    return make_table(rows)
