"""Items with known courses: acquired at known ages, lost, regained, guessed at; as arrays and as per-item results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from evalrun.statistics.dynamics.item_grid import ItemCurve, ItemGrid

Array = np.ndarray[Any, Any]


def made_course(known: Array, choices: int, seed: int, slip: float = 0.0) -> tuple[Array, Array]:
    """Right answers and margins, (checkpoints, items), of items that are known where `known` says so, else guessed."""
    random = np.random.default_rng(seed)
    p = np.where(known, 1 - slip, 1 / choices)
    right = (random.random(known.shape) < p).astype(np.float32)
    size = random.exponential(1.0, known.shape) + 0.1
    return right, np.where(right > 0, size, -size).astype(np.float32)


def learned_at(places: Array, checkpoints: int) -> Array:
    """Known from a checkpoint on: (checkpoints, items)."""
    return np.arange(checkpoints)[:, None] >= places


def made_curve(right: Array, margin: Array | None = None, model: str = "m", seed: float = np.nan) -> ItemCurve:
    """A curve with steps 1, 2, 3, ... and a million tokens a step."""
    steps = np.arange(1, len(right) + 1, dtype=np.float64)
    margin = np.where(right > 0, 1.0, -1.0).astype(np.float32) if margin is None else margin
    return ItemCurve(
        model,
        seed,
        1e6,
        steps,
        steps * 1e6,
        ("",) * len(steps),
        right.astype(np.float32),
        margin,
        right.astype(np.int8),
    )


def made_grid(curves: Sequence[ItemCurve], choices: int) -> ItemGrid:
    """A task of these curves."""
    items = curves[0].right.shape[1]
    ones = np.ones(items, dtype=np.int64)
    keys = pd.DataFrame({"doc_id": np.arange(items)})
    return ItemGrid("task", "Task", "acc", keys, 0 * ones, choices * ones, ones / choices, tuple(curves), [])


@dataclass
class MadeStore:
    """Per-item results in memory: called as `study.items_of` is."""

    frames: dict[tuple[str, str], pd.DataFrame]

    def __call__(self, run_id: str, task: str, columns: Sequence[str] | None = None) -> pd.DataFrame | None:
        frame = self.frames.get((run_id, task))
        if frame is None or columns is None:
            return frame
        return frame[[name for name in columns if name in frame]]


def items_frame(logprobs: Array, gold: Array, doc_ids: Sequence[int] | None = None) -> pd.DataFrame:
    """Per-item results as scoring writes them, of log-probabilities (items, choices)."""
    ids = range(len(gold)) if doc_ids is None else doc_ids
    best = logprobs == logprobs.max(axis=1, keepdims=True)
    return pd.DataFrame(
        {
            "doc_id": list(ids),
            "target": [str(place) for place in gold],
            "prediction": logprobs.argmax(axis=1),
            "logprobs": list(logprobs),
            "acc": best[np.arange(len(gold)), gold] / best.sum(axis=1),
            "doc_hash": [f"d{one}" for one in ids],
            "prompt_hash": [f"p{one}" for one in ids],
            "filter": "none",
        }
    )


def table_rows(
    runs: Sequence[tuple[str, str, int]], values: Sequence[float], task: str = "made", **other: Any
) -> pd.DataFrame:
    """Rows of the tidy table: run id, model and step of each, with its accuracy."""
    sizes = {model: 10.0 ** (6 + place) for place, model in enumerate(dict.fromkeys(model for _, model, _ in runs))}
    rows = [
        {
            "suite": "made", "model": model, "n_params": sizes[model], "n_params_nonembedding": sizes[model],
            "n_params_nominal": sizes[model], "step": step, "tokens": step * 1e6, "seed": np.nan,
            "flops": 6 * sizes[model] * step * 1e6, "task": task, "title": task.title(), "cause": "", "role": "",
            "metric": "acc", "value": value, "stderr": 0.01, "n": 100, "chance": 0.25, "primary": True,
            "higher_is_better": True, "settings": "lm_eval float32", "weights": "", "disputed": "", "task_key": run,
            "finished_ms": 1, "run_id": run,
        }
        for (run, model, step), value in zip(runs, values, strict=True)
    ]  # fmt: skip
    return pd.DataFrame(rows).assign(**other)
