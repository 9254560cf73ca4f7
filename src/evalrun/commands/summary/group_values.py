"""Groups of tasks in the table at the end of a sweep: a row with their mean, above the rows of what they hold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from evalrun.core.task_group import Groups, mean_of, tasks_of


@dataclass(frozen=True)
class Value:
    """A task's primary metric on one checkpoint, or a group's mean of it."""

    metric: str
    value: float
    n: int = 0  # items


def outline(tasks: Iterable[str], groups: Groups) -> dict[str, int]:
    """Tasks, and groups of two or more of them, in the order of their rows -> how many groups they are below.

    A group stands where its first task would, and what it holds below it; a task of several groups is below the first.
    A group whose tasks are all below others stands at the end, so that its mean is told too.
    """
    rows: dict[str, int] = {}
    above = {member: name for name, group in reversed(list(groups.items())) for member in group.members}
    for task in tasks:
        top, seen = task, {task}
        while (higher := above.get(top)) is not None and higher not in seen:
            top = higher
            seen.add(top)
        _put(top, 0, groups, rows)
        _put(task, 0, groups, rows)
    for name in groups:
        if set(tasks_of(groups, name)) <= rows.keys():
            _put(name, 0, groups, rows)
    return rows


def _put(name: str, depth: int, groups: Groups, rows: dict[str, int]) -> None:
    if name in rows:
        return
    is_shown = name not in groups or len(tasks_of(groups, name)) > 1
    if is_shown:
        rows[name] = depth
    for member in groups[name].members if name in groups else ():
        _put(member, depth + is_shown, groups, rows)


def group_values(results: Mapping[str, Value], groups: Groups) -> dict[str, Value]:
    """The means of groups on one checkpoint that has all of their tasks, in one metric.

    Args:
        results: Task -> its value.
        groups: The groups, and those that they hold.
    """
    found = {}
    for name, group in groups.items():
        tasks = tasks_of(groups, name)
        own = [results[task] for task in tasks if task in results and math.isfinite(results[task].value)]
        if len(tasks) < 2 or len(own) < len(tasks) or len({value.metric for value in own}) > 1:
            continue
        metric, sizes = own[0].metric, [value.n for value in own]
        is_by_size = group.is_by_size(metric)
        if not is_by_size or min(sizes) > 0:
            mean = mean_of([value.value for value in own], sizes if is_by_size else None)
            found[name] = Value(metric, mean, sum(sizes))
    return found
