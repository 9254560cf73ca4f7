"""Means over the tasks of groups, with their standard errors.

A mean is over the tasks that a group holds at any depth, as lm-eval has it: every item counts alike (weights n/N), or
every task does (weights 1/k). Tasks are taken as they are, not as drawn from a population of tasks, so the error is
that of the items: the variance of a weighted sum of the tasks' means. Where tasks ask the same items their errors go
together, which `covariance` says. lm-eval's own pooled_sample_stderr is this error where all tasks have the same number
of items or the same spread of them, and is biased elsewhere; it takes all tasks' items to be different ones.

A mean is there where every task of its group has a result, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from evalrun.core.columns import TABLE_COLUMNS
from evalrun.core.stages import stage
from evalrun.core.task_group import Groups, TaskGroup, tasks_of
from evalrun.core.text import counted, listed
from evalrun.statistics.items.shared_items import SharedItems, shared_items
from evalrun.statistics.items.values import Floats, Items
from evalrun.statistics.naming import CHECKPOINT, checkpoint_name

COLUMNS = [*TABLE_COLUMNS, "by_size", "by_size_stderr", "by_task", "by_task_stderr", "weighted", "tasks", "missing"]
_PLACE = [*CHECKPOINT, "settings"]
_TOLD = 4  # checkpoints or tasks that a sentence names


@dataclass(frozen=True)
class GroupMeans:
    """The means of groups."""

    groups: Groups
    table: pd.DataFrame  # one row a group, metric and checkpoint of any of its tasks, with the columns of `COLUMNS`
    notes: list[str]  # what has no mean or no error, a sentence each


def group_means(rows: pd.DataFrame, groups: Groups, shared: SharedItems | None = None) -> GroupMeans:
    """Average the tasks of each group, at each checkpoint.

    Args:
        rows: With the columns of `columns.TABLE_COLUMNS`; one row for each checkpoint, task and metric.
        groups: The groups, and those that they hold. One of a single task has no mean beside the task's value.
        shared: The covariances of tasks that share items; None for tasks whose items are different ones.

    Returns:
        `value` and `stderr` are those of the weighting that the group states (`weighted` says which: by size, by task),
        so that the table can stand where one of tasks does; by_size and by_task are both means. Where a task has no
        result value is NaN and `missing` names the tasks.
    """
    frames, notes = [], []
    taken = set(rows["task"].unique())
    for name, group in groups.items():
        tasks = tasks_of(groups, name)
        if len(tasks) < 2:
            continue
        if name in taken:
            notes.append(f"The group '{name}' has no mean: a task has the same name; rename the group.")
            continue
        own = rows[rows["task"].isin(tasks)]
        if own.empty:
            continue
        if never := [task for task in tasks if task not in taken]:
            notes.append(
                f"The group '{name}' has no mean: {len(never)} of its {len(tasks)} tasks have no result at any "
                f"checkpoint ({listed(never, _TOLD)})."
            )
            continue
        common = _common(own, len(tasks))
        if not common:
            those = "; ".join(f"{m}: {listed(t, _TOLD)}" for m, t in own.groupby("metric")["task"].unique().items())
            notes.append(f"The group '{name}' has no mean: its tasks have different metrics ({those}).")
        for metric in common:
            means, said = _means(own[own["metric"] == metric], group, tasks, metric, shared)
            frames.append(means)
            notes += said
    table = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=COLUMNS)
    return GroupMeans(groups, table, notes)


@stage("groups of tasks")
def group_means_of(rows: pd.DataFrame, groups: Groups, items: Items | None) -> GroupMeans:
    """`group_means` with the covariances of tasks that share items, read of their per-item results.

    Args:
        rows: As for `group_means`.
        groups: As there.
        items: Gives per-item results; None to take all tasks' items for different ones.
    """
    tasks = {task for name in groups for task in tasks_of(groups, name)}
    shared = shared_items(rows, items if len(tasks) > 1 else None, tasks)
    found = group_means(rows, groups, shared)
    return GroupMeans(groups, found.table, [*found.notes, *shared.notes])


def newest(table: pd.DataFrame) -> pd.DataFrame:
    """Of several results of one checkpoint, task and metric that were scored alike, the one computed last."""
    ordered = table.sort_values(["finished_ms", "task_key"], kind="stable")
    return ordered.drop_duplicates([*_PLACE, "task", "metric"], keep="last").sort_index()


def _common(rows: pd.DataFrame, tasks: int) -> list[str]:
    """The metrics that all tasks have, of which more is better in all of them, or in none."""
    by_metric = rows.groupby("metric", sort=False)
    whole = (by_metric["task"].nunique() == tasks) & (by_metric["higher_is_better"].nunique() == 1)
    return [str(metric) for metric in whole.index[whole]]


def _means(
    rows: pd.DataFrame, group: TaskGroup, tasks: Sequence[str], metric: str, shared: SharedItems | None
) -> tuple[pd.DataFrame, list[str]]:
    """The means of one group in one metric; arguments as for `group_means`."""
    place = rows.groupby(_PLACE, sort=False, dropna=False).ngroup().to_numpy()
    task = rows["task"].map({name: i for i, name in enumerate(tasks)}).to_numpy()
    shape = (int(place.max()) + 1, len(tasks))

    def spread(column: str) -> Floats:
        found = np.full(shape, np.nan)
        found[place, task] = rows[column].to_numpy(dtype="float64", na_value=np.nan)
        return found

    values, errors, sizes, chances = (spread(column) for column in ("value", "stderr", "n", "chance"))
    there = np.isfinite(values)
    is_whole = there.all(axis=1)
    places = _places(rows, place)
    together = None
    if shared is not None and shared.covariances:
        together = np.array([shared.among(tasks, row) for row in places.to_dict("records")])
    sized = np.where(sizes > 0, sizes, np.nan)
    means, found = {}, {}
    for name, weights in {"by_size": sized / sized.sum(axis=1, keepdims=True), "by_task": 1 / len(tasks)}.items():
        weights = np.broadcast_to(weights, shape)
        variance = (weights**2 * errors**2).sum(axis=1)
        if together is not None:
            variance = np.maximum(variance + np.einsum("pi,pij,pj->p", weights, together, weights), 0.0)
        means[name] = np.where(is_whole, (weights * values).sum(axis=1), np.nan)
        found[name] = np.where(is_whole, np.sqrt(variance), np.nan), (weights * chances).sum(axis=1)
    weighted = "by_size" if group.is_by_size(metric) else "by_task"
    table = places.assign(
        task=group.name,
        title=group.title,
        cause=_if_one(rows["cause"]),
        role=_if_one(rows["role"]),
        metric=metric,
        value=means[weighted],
        stderr=found[weighted][0],
        n=sizes.sum(axis=1),
        chance=found[weighted][1],
        primary=bool(rows["primary"].all()),
        disputed="",
        by_size=means["by_size"],
        by_size_stderr=found["by_size"][0],
        by_task=means["by_task"],
        by_task_stderr=found["by_task"][0],
        weighted=weighted.replace("_", " "),
        tasks=len(tasks),
        missing=[", ".join(np.array(tasks)[~row]) for row in there],
    )[COLUMNS]
    return table, [*_lacking(table, group, len(tasks)), *_unsized(table, group)]


def _places(rows: pd.DataFrame, place: np.ndarray[Any, Any]) -> pd.DataFrame:
    """One row a checkpoint, in the order of `place`: what is its own, and the latest of what its results say."""
    ordered = rows.assign(_place=place).sort_values("finished_ms", kind="stable")
    last = ordered.drop_duplicates("_place", keep="last").sort_values("_place").drop(columns="_place")
    return last.reset_index(drop=True)


def _if_one(texts: pd.Series[str]) -> str:
    """What all say, or nothing."""
    return str(texts.iloc[0]) if texts.nunique() == 1 else ""


def _lacking(table: pd.DataFrame, group: TaskGroup, tasks: int) -> Iterator[str]:
    """At which checkpoints a group has no mean, because tasks of it have no result there."""
    lacking = table[table["missing"] != ""]
    if lacking.empty:
        return
    said = [
        f"{checkpoint_name(row)} lacks {listed(str(row['missing']).split(', '), _TOLD)}"
        for row in lacking.head(_TOLD).to_dict("records")
    ]
    more = f"; and {len(lacking) - _TOLD} more" if len(lacking) > _TOLD else ""
    yield (
        f"The group '{group.name}' of {counted(tasks, 'task')} has no mean at {len(lacking)} of "
        f"{counted(len(table), 'checkpoint')}: {'; '.join(said)}{more}."
    )


def _unsized(table: pd.DataFrame, group: TaskGroup) -> Iterator[str]:
    unsized = table[(table["missing"] == "") & table["by_size"].isna()]
    if len(unsized):
        names = listed(map(checkpoint_name, unsized.to_dict("records")), _TOLD)
        yield (
            f"The group '{group.name}' has no mean that counts every item alike at {names}: how many items a task has "
            "is not known."
        )
