"""Tasks that ask the same items, and how the errors of their means go together.

A document that is asked in two ways is one draw from the population of documents, not two: where both tasks have it,
the products of its deviations in the two are added to the variance of a mean over the tasks (Miller 2024, "Adding Error
Bars to Evals", arXiv:2411.00640, with the document as the cluster). Where all tasks ask all documents, the error that
results is that of the documents' own means, sd / sqrt(documents).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from evalrun.core.text import listed
from evalrun.statistics.items.values import Floats, Items, columns_of, item_values
from evalrun.statistics.naming import CHECKPOINT, capped, checkpoint_name

_PLACE = [*CHECKPOINT, "settings", "metric"]
_TOLD = 4


@dataclass(frozen=True)
class SharedItems:
    """The covariances of the means of tasks that share items."""

    covariances: Mapping[tuple[str, ...], Sequence[pd.DataFrame]] = field(
        default_factory=dict
    )  # place -> tasks x tasks
    notes: tuple[str, ...] = ()  # where there is none to be had, and why

    def among(self, tasks: Sequence[str], row: Mapping[Any, Any]) -> Floats:
        """(tasks, tasks) the covariances of the means of some tasks at the checkpoint of a row and in its metric.

        The diagonal is zero: a mean's own variance is its standard error's square. So are tasks without a common item;
        NaN where two share items and no per-item results tell their covariance.
        """
        found = np.zeros((len(tasks), len(tasks)))
        for known in self.covariances.get(_key(row), ()):
            here = [i for i, task in enumerate(tasks) if task in known.index]
            some = [tasks[i] for i in here]
            found[np.ix_(here, here)] = known.loc[some, some].to_numpy()
        return found


def shared_items(rows: pd.DataFrame, items: Items | None, tasks: Collection[str]) -> SharedItems:
    """Find the tasks that share items, by the digests of their documents, and the covariances of their means.

    Which items a task has is read of one of its results; all results are read of the tasks that share some.

    Args:
        rows: With the columns of `columns.TABLE_COLUMNS`; one row for each checkpoint, task and metric.
        items: Gives per-item results; None where there are none: then tasks are taken to have different items.
        tasks: Which to look at.
    """
    if items is None:
        return SharedItems()
    own = rows[rows["task"].isin(list(tasks))]
    found: dict[tuple[str, ...], list[pd.DataFrame]] = defaultdict(list)
    notes: dict[str, None] = {}
    for component in _components(own, items):
        for _, here in own[own["task"].isin(component)].groupby(_PLACE, sort=False, dropna=False):
            records = here.to_dict("records")
            matrix, why = _covariance(records, items)
            found[_key(records[0])].append(matrix)
            notes |= dict.fromkeys(why)
    return SharedItems(found, tuple(capped(list(notes))))


def _components(rows: pd.DataFrame, items: Items) -> list[set[str]]:
    """Sets of tasks that are connected by documents that they share, of two tasks or more."""
    holders: dict[str, str] = {}  # document -> a task that has it
    component = {str(task): {str(task)} for task in rows["task"].unique()}
    for task, own in rows.groupby("task", sort=False):
        for document in _documents(own, str(task), items):
            other = component[holders.setdefault(document, str(task))]
            if str(task) not in other:
                other |= component[str(task)]
                component.update(dict.fromkeys(other, other))
    distinct = {id(one): one for one in component.values() if len(one) > 1}
    return list(distinct.values())


def _documents(rows: pd.DataFrame, task: str, items: Items) -> list[str]:
    """The digests of a task's documents, of the first of its results that has per-item results."""
    for run_id in rows["run_id"].unique():
        found = items(str(run_id), task, ["doc_hash"])
        if found is not None:
            return [] if "doc_hash" not in found else [str(one) for one in found["doc_hash"].unique() if one]
    return []


def _covariance(rows: Sequence[Mapping[Any, Any]], items: Items) -> tuple[pd.DataFrame, list[str]]:
    """The covariances of the means of tasks that share items, at one checkpoint, zeros on the diagonal.

    Args:
        rows: A row a task.
        items: Gives per-item results.
    """
    tasks = [str(row["task"]) for row in rows]
    deviations = {task: _deviations(row, items) for task, row in zip(tasks, rows, strict=True)}
    unknown = [task for task, found in deviations.items() if found is None]
    known = pd.DataFrame({task: found for task, found in deviations.items() if found is not None}).fillna(0.0)
    values = (known.T @ known).reindex(index=tasks, columns=tasks).to_numpy(copy=True)
    np.fill_diagonal(values, 0.0)
    matrix = pd.DataFrame(values, index=tasks, columns=tasks)
    if len(tasks) < 2 or not unknown:
        return matrix, []
    return matrix, [
        f"{checkpoint_name(rows[0])}: no standard error of a mean over {listed(tasks, _TOLD)}, which ask the same "
        f"items: what {listed(unknown, _TOLD)} scored on each is not known."
    ]


def _deviations(row: Mapping[Any, Any], items: Items) -> pd.Series[float] | None:
    """Document -> what it adds to the error of a task's mean; their squares add up to the mean's variance.

    None where there are no per-item results, or the value is not the mean over them.
    """
    metric = str(row["metric"])
    found = item_values(items(str(row["run_id"]), str(row["task"]), columns_of(metric)), metric)
    if found is None or "doc_hash" not in found.keys or not found.average_to(float(row["value"])):
        return None
    n = len(found.values)
    if n < 2:
        return None
    scaled = (found.values - found.values.mean()) / np.sqrt(n * (n - 1))
    return pd.Series(scaled).groupby(found.keys["doc_hash"].astype(str).to_numpy()).sum()


def _key(row: Mapping[Any, Any]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in _PLACE)
