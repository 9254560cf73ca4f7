"""Groups of tasks: what each holds, and how its mean is weighted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class TaskGroup:
    """Tasks that have a mean of their own: an lm-eval group, or a set of conf/task."""

    name: str
    title: str  # for people
    members: tuple[str, ...]  # names of tasks and of groups, in order
    by_size: Mapping[str, bool] = field(default_factory=dict)  # metric -> weight_by_size, as aggregate_metric_list says

    def is_by_size(self, metric: str) -> bool:
        """Whether its mean of a metric counts every item alike, rather than every task.

        What the group says of another metric holds where it does not name this one. A group that says nothing, for
        which lm-eval has no mean, counts every task alike.
        """
        return self.by_size.get(metric, any(self.by_size.values()))


Groups = Mapping[str, TaskGroup]
"""Name -> group; with a group there are all groups that it holds."""


def tasks_of(groups: Groups, name: str) -> tuple[str, ...]:
    """The tasks that a group holds at any depth, each once, in order: a mean is over these, as lm-eval has it.

    A group that holds itself, as tags of different times may say, holds nothing by that.
    """
    return tuple(dict.fromkeys(_tasks(groups, name, ())))


def _tasks(groups: Groups, name: str, within: tuple[str, ...]) -> list[str]:
    if name not in groups:
        return [name]
    inside = (*within, name)
    return [task for one in groups[name].members if one not in inside for task in _tasks(groups, one, inside)]


def outermost(groups: Groups) -> list[str]:
    """The groups that no other one holds, in order."""
    held = {member for group in groups.values() for member in group.members}
    return [name for name in groups if name not in held]


def in_order(groups: Groups) -> dict[str, TaskGroup]:
    """The groups, each before those that it holds."""
    return under(groups, [*outermost(groups), *groups])


def under(groups: Groups, names: Iterable[str]) -> dict[str, TaskGroup]:
    """Some of the groups, and all that they hold."""
    found: dict[str, TaskGroup] = {}
    for name in names:
        _put(groups, name, found)
    return found


def _put(groups: Groups, name: str, found: dict[str, TaskGroup]) -> None:
    if name in groups and name not in found:
        found[name] = groups[name]
        for member in groups[name].members:
            _put(groups, member, found)


def mean_of(values: Sequence[float], sizes: Iterable[int] | None) -> float:
    """The mean of tasks' values: of items, if sizes are given, which are greater than 0; else of tasks."""
    weights = [1.0] * len(values) if sizes is None else list(map(float, sizes))
    return math.fsum(w * value for w, value in zip(weights, values, strict=True)) / math.fsum(weights)
