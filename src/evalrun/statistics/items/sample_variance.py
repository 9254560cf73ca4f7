"""Where the chance in a task's mean comes from: the items that were drawn, the answers to each, and training.

By the law of total variance (Wang 2025, arXiv:2512.21326: data noise and prediction noise). With x_ij the value of
answer j of s to item i of n, w the mean over items of the variance of an item's answers, and b the variance over items
of what each would get with answers without number,

    Var(mean) = b / n + w / (s n),

and the variance of the items' means over n is an unbiased estimate of all of it. w / (s n) is what more answers would
take away; b / n needs more items. Two checkpoints that answer the same items share b, and never w. A third part is
seen over training alone: how far checkpoints lie from the line between their neighbours (`shapes.noise`), beyond what
their answers explain; items add nothing to that, since all answer the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from evalrun.core.stages import stage
from evalrun.statistics.items.values import Floats, Items
from evalrun.statistics.shapes.noise import FEWEST_RESIDUALS, residuals, robust_level

COLUMNS = [
    *("task", "title", "model", "seed", "step", "tokens", "metric", "value", "items", "samples"),
    *("variance", "by_items", "by_samples", "samples_share", "stderr", "stderr_if_many", "by_checkpoints"),
]
_ASKED = "samples="  # in the words that say how a result was scored
_CURVE = ["task", "model", "seed"]


@dataclass(frozen=True)
class Split:
    """The variance of a task's mean, and its parts, in squared units of the value."""

    items: int
    samples: float  # of an item; their mean where items have unequally many
    variance: float  # of the mean
    by_items: float  # what more samples would leave; never below 0, though its estimate may be
    by_samples: float

    @property
    def samples_share(self) -> float:
        """The share of the variance that more samples would take away, 0 to 1; NaN where there is none."""
        return min(1.0, self.by_samples / self.variance) if self.variance > 0 else float("nan")


def split_variance(values: Sequence[Floats]) -> Split | None:
    """The parts of the variance of a mean over items of which each was answered several times.

    Args:
        values: Of each item, (samples,) what its answers are worth.

    Returns:
        None with fewer than two items, or where no item has two samples.
    """
    counts = np.array([len(one) for one in values])
    if len(values) < 2 or not (counts >= 2).any():
        return None
    means = np.array([one.mean() for one in values])
    within = float(np.mean([one.var(ddof=1) for one in values if len(one) > 1]))
    n = len(values)
    variance = float(means.var(ddof=1)) / n
    by_samples = within * float((1 / counts).mean()) / n
    return Split(n, float(counts.mean()), variance, max(0.0, variance - by_samples), by_samples)


@stage("samples")
def sample_variance(rows: pd.DataFrame, items: Items | None) -> pd.DataFrame:
    """The parts of every result whose items were answered several times.

    Args:
        rows: Of `Prepared.table`.
        items: Gives per-item results; None for an empty table.

    Returns:
        One row a result with the columns of `COLUMNS`, in table order: `stderr`, the error of the mean, and what it
        would be with samples without number; `by_checkpoints`, the variance by training of a task's values, NaN with
        fewer than 12 inner checkpoints.
    """
    found: list[dict[Any, Any]] = []
    asked = rows[rows["settings"].str.contains(_ASKED, regex=False)] if items is not None else rows.iloc[:0]
    for row in asked.to_dict("records"):
        values = None if items is None else _samples(items, str(row["run_id"]), str(row["task"]), str(row["metric"]))
        split = None if values is None else split_variance(values)
        if split is None:
            continue
        about = {name: row[name] for name in COLUMNS if name in row}
        error, many = np.sqrt(split.variance), np.sqrt(split.by_items)
        numbers = {"samples_share": split.samples_share, "stderr": error, "stderr_if_many": many}
        found.append({**about, **vars(split), **numbers, "by_checkpoints": np.nan})
    table = pd.DataFrame(found, columns=COLUMNS)
    return table if table.empty else _with_checkpoints(table)


def _samples(items: Items, run_id: str, task: str, metric: str) -> list[Floats] | None:
    """What each answer to each item is worth; None where items were answered once."""
    words = metric.split("_")
    names = ["_".join(words[:cut]) for cut in range(len(words), 0, -1)]  # the longest name first
    frame = items(run_id, task, ["doc_id", "filter", *(f"sample_{name}" for name in names)])
    for name in names if frame is not None else ():
        assert frame is not None
        if f"sample_{name}" not in frame:
            continue
        named = metric[len(name) + 1 :] or "none"
        own = frame if "filter" not in frame else frame[frame["filter"] == named]
        each = [np.asarray(one, dtype="float64") for one in own[f"sample_{name}"] if one is not None]
        if each and all(len(one) and np.isfinite(one).all() for one in each):
            return each
    return None


def _with_checkpoints(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the variance by training of each task's values."""
    order = table.sort_values([*_CURVE, "tokens"], kind="stable")
    curve = order.groupby(_CURVE, dropna=False, sort=False).ngroup().to_numpy()
    value = order["value"].to_numpy(dtype="float64")
    x = np.log2(np.maximum(order["tokens"].to_numpy(dtype="float64"), 1.0))
    residual, inner = residuals(value, curve, x)
    tasks = order["task"].to_numpy()
    for task in dict.fromkeys(tasks):
        own = residual[tasks[inner] == task]
        if len(own) >= FEWEST_RESIDUALS:
            by_samples = float(table.loc[table["task"] == task, "by_samples"].mean())
            table.loc[table["task"] == task, "by_checkpoints"] = max(0.0, robust_level(own)[0] - by_samples)
    return table
