"""Tasks taken apart: the curves of the items with one value of a column, or of easy and hard items, tested together.

A mean can be level while a part of the items falls and another rises. Each part is a curve of its own; labels and falls
are decided for all parts of all tasks and models at once, so that one error rate holds for all of them.

Difficulty is how seldom the other models and seeds are right, never the model itself: items that are hard for a model
by its own answers would get easier by themselves (regression to the mean).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from evalrun.core.errors import AnalysisError
from evalrun.core.text import counted, listed
from evalrun.statistics.dynamics.distractors import ItemWords
from evalrun.statistics.dynamics.item_columns import DIFFICULTY, FEWEST, coded
from evalrun.statistics.dynamics.item_grid import ItemGrid, Singles
from evalrun.statistics.items.clusters import Codes
from evalrun.statistics.items.values import Floats, Items
from evalrun.statistics.naming import run_name

PARTS = [
    *("task", "title", "by", "part", "model", "seed", "n", "label", "sentence", "falls", "peak_step", "peak_value"),
    *("trough_step", "trough_value", "fall", "low", "high", "p", "q", "recovered", "hidden"),
]
PART_CURVES = [
    *("task", "title", "by", "part", "model", "seed", "step", "tokens", "flops", "n_params", "n_params_nominal"),
    *("n_params_nonembedding", "cause", "role", "metric", "higher_is_better", "chance", "value", "stderr", "n"),
]
_LEVELS = ("easy", "middle", "hard")
_MARK = "\x1f"  # between a task, what it is divided by, and the part: in no name
_NAMED = 6  # parts in a sentence

Judge = Callable[[pd.DataFrame, Items], tuple[pd.DataFrame, pd.DataFrame]]
"""Rows of a table and a reader of their items -> labels (`describe_shapes`) and falls (`find_falls`) of the curves."""


@dataclass(frozen=True)
class Division:
    """Which part each item is of."""

    by: str
    names: tuple[str, ...]
    codes: tuple[Codes, ...]  # of each curve, (items,) place in names; -1: of none


@dataclass(frozen=True)
class DividedTask:
    """The answers to a task, as far as parts need them, and the ways in which it is divided."""

    rows: pd.DataFrame  # of the tidy table
    keys: pd.DataFrame  # doc_id and, where they are there, doc_hash: (items,) each
    guess: Floats  # (items,)
    run_ids: tuple[tuple[str, ...], ...]  # of each curve
    right: tuple[Singles, ...]  # of each curve, (checkpoints, items)
    divisions: tuple[Division, ...]


@dataclass(frozen=True)
class PartFindings:
    """The curves of all parts, and what they do."""

    found: pd.DataFrame  # PARTS: a row a part and curve
    curves: pd.DataFrame  # PART_CURVES: a row a part and checkpoint


NO_PARTS = PartFindings(pd.DataFrame(columns=PARTS), pd.DataFrame(columns=PART_CURVES))


def divided_task(grid: ItemGrid, rows: pd.DataFrame, divisions: Sequence[Division]) -> DividedTask:
    """What `parts` needs of a task, so that the rest of its answers can be dropped."""
    runs, right = [curve.run_ids for curve in grid.curves], [curve.right for curve in grid.curves]
    return DividedTask(rows, grid.keys, grid.guess, tuple(runs), tuple(right), tuple(divisions))


def divide(grid: ItemGrid, by: str, words: ItemWords | None) -> Division:
    """Divide the items of a task.

    Args:
        grid: Of `read_grid`.
        by: `difficulty`, `gold_position`, `prompt_length` or a column of the task's data.
        words: Texts of the items; needed for lengths and columns.

    Raises:
        ConfigError: there is no such column, or it has one value or too many.
        AnalysisError: the items' data cannot be had, or there is no other model to tell difficulty by.
    """
    if by == DIFFICULTY:
        return Division(by, _LEVELS, tuple(_levels(grid, place) for place in range(len(grid.curves))))
    names, codes = coded(grid, by, words)
    return Division(by, names, (codes,) * len(grid.curves))


def _levels(grid: ItemGrid, place: int) -> Codes:
    """(items,) 0 easy, 1 middle, 2 hard: thirds by how often all other models and seeds are right; ties are one's.

    Raises:
        AnalysisError: there is no other, or there are too few items.
    """
    others = [curve for other, curve in enumerate(grid.curves) if other != place]
    if not others:
        raise AnalysisError("by=difficulty needs another model or seed, whose answers say what is hard: there is one.")
    count, needed = len(grid.keys), FEWEST * len(_LEVELS)
    if count < needed:
        raise AnalysisError(f"by=difficulty needs {needed} items, {FEWEST} in each third: '{grid.task}' has {count}.")
    share = np.mean([np.nan_to_num(curve.right).mean(axis=0) for curve in others], axis=0)
    codes: Codes = ((rankdata(-share) - 0.5) * len(_LEVELS) / count).astype(np.int64)
    sizes = np.bincount(codes, minlength=len(_LEVELS))
    return np.where(sizes[codes] >= FEWEST, codes, -1)


def parts(tasks: Sequence[DividedTask], whole: pd.DataFrame, judge: Judge) -> PartFindings:
    """The shape and the largest fall of each part, with one correction over all.

    Args:
        tasks: Of `divided_task`.
        whole: `find_falls` of the tasks as they are.
        judge: Decides about curves.

    Returns:
        The parts, of which `hidden` says that one falls where its task as a whole does not; and their curves.
    """
    items = _PartItems()
    table = pd.DataFrame([row for task in tasks for row in _rows(task, items)])
    if table.empty:
        return NO_PARTS
    labels, falls = judge(table, items)
    curve = ["task", "model", "seed"]
    found = labels[[*curve, "label", "sentence"]].merge(falls, on=curve, how="left", validate="1:1")
    titles = {str(task.rows["task"].iloc[0]): str(task.rows["title"].iloc[0]) for task in tasks}
    found, table = _named(found, titles), _named(table, titles)
    fallen = whole.loc[whole["falls"].astype(bool), curve].drop_duplicates().assign(fallen=True)
    seen = found[curve].merge(fallen, on=curve, how="left")["fallen"].notna()
    found["hidden"] = found["falls"].astype(bool).to_numpy() & ~seen.to_numpy()
    table = table.reindex(columns=PART_CURVES)
    return PartFindings(found[PARTS].reset_index(drop=True), table.reset_index(drop=True))


def task_of(name: str) -> str:
    """The task of a part, by what the part is called while it is judged."""
    return name.split(_MARK)[0]


def _named(frame: pd.DataFrame, titles: Mapping[str, str]) -> pd.DataFrame:
    """Rows about parts with their task, what it is divided by, and the part, each in its column."""
    said = frame["task"].str.split(_MARK, expand=True)
    return frame.assign(task=said[0], title=said[0].map(titles), by=said[1], part=said[2])


class _PartItems:
    """Reads the items of parts, as `study.items_of` reads those of tasks."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, str], tuple[DividedTask, Singles, Any]] = {}

    def add(self, run_id: str, part: str, task: DividedTask, right: Singles, own: Any) -> None:
        """Keep where the answers of a part are: `right` (items,) of a checkpoint, `own` (items,) flags."""
        self._answers[run_id, part] = task, right, own

    def __call__(self, run_id: str, task: str, columns: Sequence[str]) -> pd.DataFrame | None:
        if (run_id, task) not in self._answers:
            return None
        of, right, own = self._answers[run_id, task]
        there = own & np.isfinite(right)
        metric = str(of.rows["metric"].iloc[0])
        frame: pd.DataFrame = of.keys[there].assign(**{metric: right[there].astype(np.float64)}).reset_index(drop=True)
        return frame[[name for name in columns if name in frame]]


def _rows(task: DividedTask, items: _PartItems) -> Iterator[dict[Any, Any]]:
    """Rows of the tidy table for each part of a task."""
    about = {str(row["run_id"]): row for row in task.rows.to_dict("records")}
    for division in task.divisions:
        for code, name in enumerate(division.names):
            for run_ids, right, codes in zip(task.run_ids, task.right, division.codes, strict=True):
                own = codes == code
                if not own.any():
                    continue
                answers = right[:, own].astype(np.float64)
                chance = float(task.guess[own].mean())
                for place, run_id in enumerate(run_ids):
                    told = answers[place][np.isfinite(answers[place])]
                    if not len(told):
                        continue
                    row = about[run_id]
                    part = _MARK.join([str(row["task"]), division.by, name])
                    items.add(run_id, part, task, right[place], own)
                    error = float(told.std(ddof=1)) / np.sqrt(len(told)) if len(told) > 1 else np.nan
                    numbers = {"value": float(told.mean()), "stderr": error, "n": float(len(told)), "chance": chance}
                    yield {**row, "task": part, "title": f"{row['title']}, {division.by}={name}", **numbers}


def hidden_sentences(found: pd.DataFrame) -> list[str]:
    """What is to be said of parts that fall while the whole does not: a sentence a task and way of dividing it."""
    said = []
    for (title, by), own in found[found["hidden"].astype(bool)].groupby(["title", "by"], sort=False):
        told = []
        for part, rows in own.groupby("part", sort=False):
            row = rows.sort_values("fall", ascending=False).iloc[0].to_dict()
            others = f" and in {len(rows) - 1} more" if len(rows) > 1 else ""
            told.append(
                f"where {by}={part}, in {run_name(row)} from {row['peak_value']:.2f} at step {row['peak_step']:.0f} to "
                f"{row['trough_value']:.2f} at step {row['trough_step']:.0f}{others}"
            )
        what = counted(len(told), "part") if len(told) > 1 else "a part"
        verb = "fall" if len(told) > 1 else "falls"
        said.append(f"The mean of {title} hides {what} that {verb} while the whole does not: {listed(told, _NAMED)}.")
    return said
