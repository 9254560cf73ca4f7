"""What the report opens with: a task that gets worse with training, beside one that gets better."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import pandas as pd

from evalrun.core.causes import CONTROL
from evalrun.core.text import listed
from evalrun.reporting.few_items import few_items, on_few

_BETTER = {"positive", "emergent"}


@dataclass(frozen=True)
class Example:
    """A task, and what its curves do."""

    task: str
    title: str
    heading: str  # Worse with training
    sentence: str  # of all its models


def examples(table: pd.DataFrame, shapes: pd.DataFrame, over: str = "training") -> list[Example]:
    """The task that falls in most of the models and the one that rises in most; where equal, by the larger range.

    A curve gets worse where a fall counts and no rise outweighs it: the labels inverse, late drop, U-shaped, inverted-U
    and non-monotonic. Ranges are compared in smallest changes of interest, so that metrics are comparable. Over size,
    where each task has one curve, the tasks that fall are ranked by what the last model has lost of the best.

    Args:
        table: Rows of `Prepared.table`.
        shapes: What `describe_shapes` returns for it; or curves over size, one a task.
        over: training or size.

    Returns:
        Two, or fewer where no curve falls or none rises: first what falls, which no control task is.
    """
    controls = set(table.loc[table["role"] == CONTROL, "task"])
    moves = shapes.assign(
        worse=shapes["falls"].astype(bool) & ~shapes["label"].isin(_BETTER),
        better=shapes["label"].isin(_BETTER),
        size=(shapes["highest_value"] - shapes["lowest_value"]) / shapes["smallest_change"],
    )
    if over == "size":  # one curve a task: what is lost at the end counts, not how far it swings
        best = moves["highest_value"].where(moves["higher_is_better"].astype(bool), moves["lowest_value"])
        lost = (best - moves["last_value"]).abs() / moves["smallest_change"]
        moves["size"] = lost.where(moves["worse"], moves["size"])
    few = few_items(table)
    worse = _most(moves[~moves["task"].isin(controls)], "worse", few)
    better = _most(moves[moves["task"] != worse], "better", few)
    found = []
    if worse is not None:
        found.append(_example(moves[moves["task"] == worse], "worse", over, "U-shaped", "and comes back", few))
    if better is not None:
        found.append(_example(moves[moves["task"] == better], "better", over, "emergent", "all at once", few))
    return found


def _most(moves: pd.DataFrame, which: str, few: Collection[str]) -> str | None:
    """The task with the largest share of curves that move so; of tasks with few items only where no other moves so."""
    by_task = moves.groupby("task", sort=False).agg({which: "mean", "size": "mean"})
    by_task = by_task[by_task[which] > 0].assign(many=lambda tasks: ~tasks.index.isin(few))
    if by_task.empty:
        return None
    return str(by_task.sort_values(["many", which, "size"], ascending=False, kind="stable").index[0])


def _example(rows: pd.DataFrame, which: str, over: str, special: str, how: str, few: dict[str, int]) -> Example:
    """A task's rows in words; the models whose curve is of the special shape are named."""
    task, title = str(rows["task"].iloc[0]), str(rows["title"].iloc[0])
    if over == "size":
        course = str(rows["sentence"].iloc[0]).removeprefix(f"{title} ")
        return Example(
            task, title, f"{which.title()} with size", f"It gets {which} with size: {course}{on_few(task, few)}."
        )
    names = [_named(str(model), own["label"] == special) for model, own in rows.groupby("model", sort=False)]
    names = [name for name in names if name]
    more = "" if not names else f", {how}" if len(rows) == 1 else f", {how} in {listed(names)}"
    sentence = f"It gets {which} with training in {_of(rows, which)}{more}{on_few(task, few)}."
    return Example(task, title, f"{which.title()} with training", sentence)


def _named(model: str, special: pd.Series[bool]) -> str:
    """A model of which all curves (seeds) are of the special shape, or how many are; empty where none is."""
    count, seeds = int(special.sum()), len(special)
    return "" if not count else model if count == seeds else f"{model} ({count} of {seeds} seeds)"


def _of(rows: pd.DataFrame, which: str) -> str:
    """`all 4 models`, `6 of 8 models`, `2 of 12 training runs`."""
    what = "training run" if rows["model"].duplicated().any() else "model"
    count, total = int(rows[which].sum()), len(rows)
    if total == 1:
        return f"the only {what}"
    if count == total == 2:
        return f"both {what}s"
    return f"all {total} {what}s" if count == total else f"{count} of {total} {what}s"
