"""A task taken apart: the curves of the items with one value of a column, or of easy and hard items, tested together.

A mean can be level while a part of the items falls and another rises. Each part is a curve of its own; labels and falls
are decided for all parts and models at once, so that one error rate holds for all of them.

Difficulty is how seldom the other models and seeds are right, never the model itself: items that are hard for a model
by its own answers would get easier by themselves (regression to the mean).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from evalrun.core.errors import AnalysisError, ConfigError, suggest
from evalrun.statistics.dynamics.distractors import ItemWords
from evalrun.statistics.dynamics.item_grid import ItemGrid
from evalrun.statistics.items.clusters import Codes

DIFFICULTY = "difficulty"
PARTS = [
    *("part", "model", "seed", "n", "label", "sentence", "falls", "peak_step", "peak_value", "trough_step"),
    *("trough_value", "fall", "low", "high", "p", "q", "recovered", "hidden"),
]
_LEVELS = ("easy", "middle", "hard")
_FEWEST = 10  # items of a part
_MOST = 24  # parts

Judge = Callable[[pd.DataFrame, Any], tuple[pd.DataFrame, pd.DataFrame]]
"""Rows of a table and a reader of their items -> labels (`describe_shapes`) and falls (`find_falls`) of the curves."""


@dataclass(frozen=True)
class Division:
    """Which part each item is of."""

    names: tuple[str, ...]
    codes: tuple[Codes, ...]  # of each curve, (items,) place in names; -1: of none


def divide(grid: ItemGrid, by: str, words: ItemWords | None) -> Division:
    """Divide the items of a task.

    Args:
        grid: Of `read_grid`.
        by: `difficulty`, or a column of the task's data.
        words: Texts of the items; needed for a column.

    Raises:
        ConfigError: there is no such column, or it has one value or too many.
        AnalysisError: the items' data cannot be had, or there is no other model to tell difficulty by.
    """
    if by == DIFFICULTY:
        return Division(_LEVELS, tuple(_levels(grid, place) for place in range(len(grid.curves))))
    if words is None or words.why:
        raise AnalysisError(f"task '{grid.task}' cannot be divided by '{by}': {words.why if words else 'no texts'}")
    if by not in words.columns:
        raise ConfigError(f"task '{grid.task}' has no column '{by}': {suggest(by, [*words.columns, DIFFICULTY])}")
    values = pd.Series(words.columns[by])
    counts = values[values != ""].value_counts()
    names = sorted(counts.index[counts >= _FEWEST])
    if not 1 < len(names) <= _MOST:
        raise ConfigError(
            f"by={by} makes {len(names)} parts of {_FEWEST} items or more: name a column with 2 to {_MOST} of them."
        )
    codes = values.map({name: place for place, name in enumerate(names)}).fillna(-1).to_numpy(np.int64)
    return Division(tuple(map(str, names)), (codes,) * len(grid.curves))


def _levels(grid: ItemGrid, place: int) -> Codes:
    """(items,) 0 easy, 1 middle, 2 hard: thirds by how often all other models and seeds are right.

    Raises:
        AnalysisError: there is no other.
    """
    others = [curve for other, curve in enumerate(grid.curves) if other != place]
    if not others:
        raise AnalysisError("by=difficulty needs another model or seed, whose answers say what is hard: there is one.")
    share = np.mean([np.nan_to_num(curve.right).mean(axis=0) for curve in others], axis=0)
    rank = np.argsort(np.argsort(-share, kind="stable"), kind="stable")
    codes: Codes = (rank * len(_LEVELS) // len(rank)).astype(np.int64)
    return codes


def parts(grid: ItemGrid, rows: pd.DataFrame, whole: pd.DataFrame, division: Division, judge: Judge) -> pd.DataFrame:
    """The shape and the largest fall of each part, with one correction over all.

    Args:
        grid: Of `read_grid`.
        rows: Of the tidy table, of the task.
        whole: `find_falls` of the task as it is.
        division: Of its items.
        judge: Decides about curves.

    Returns:
        One row a part and curve with the columns of `PARTS`; hidden says that the part falls where the whole does not.
    """
    table, values = _table(grid, rows, division)

    def items(run_id: str, task: str, columns: Sequence[str]) -> pd.DataFrame | None:
        own = values.get((run_id, task))
        return None if own is None else own[[name for name in columns if name in own]]

    labels, falls = judge(table, items)
    curve = ["task", "model", "seed"]
    found = labels[[*curve, "label", "sentence"]].merge(falls, on=curve, how="left", validate="1:1")
    names = {_part_task(grid.task, name): name for name in division.names}
    found["part"] = found["task"].map(names)
    fallen = whole.loc[whole["falls"].astype(bool), ["model", "seed"]].drop_duplicates().assign(fallen=True)
    seen = found[["model", "seed"]].merge(fallen, on=["model", "seed"], how="left")["fallen"].notna()
    found["hidden"] = found["falls"].astype(bool).to_numpy() & ~seen.to_numpy()
    return found[PARTS]


def _part_task(task: str, name: str) -> str:
    return f"{task} [{name}]"


def _table(
    grid: ItemGrid, rows: pd.DataFrame, division: Division
) -> tuple[pd.DataFrame, dict[tuple[str, str], pd.DataFrame]]:
    """Rows of the tidy table for each part, and the items behind them."""
    about = {str(row["run_id"]): row for row in rows.to_dict("records")}
    made: list[dict[Any, Any]] = []
    values: dict[tuple[str, str], pd.DataFrame] = {}
    for curve, codes in zip(grid.curves, division.codes, strict=True):
        for place, run_id in enumerate(curve.run_ids):
            for code, name in enumerate(division.names):
                own = (codes == code) & np.isfinite(curve.right[place])
                right, task = curve.right[place][own].astype(np.float64), _part_task(grid.task, name)
                error = float(right.std(ddof=1)) / np.sqrt(len(right)) if len(right) > 1 else np.nan
                numbers = {"value": float(right.mean()), "stderr": error, "n": float(len(right))}
                chance = {"chance": float(grid.guess[own].mean())}
                made.append({**about[run_id], "task": task, "title": f"{grid.title}: {name}", **numbers, **chance})
                values[run_id, task] = pd.DataFrame({"doc_id": grid.keys["doc_id"][own], grid.metric: right})
    return pd.DataFrame(made), values


def hidden_sentences(found: pd.DataFrame, by: str) -> list[str]:
    """What is to be said of parts that fall while the whole does not."""
    return [
        f"The mean hides a part: {by}={row['part']} falls where the task as a whole does not. {row['sentence']}."
        for row in found[found["hidden"]].to_dict("records")
    ]
