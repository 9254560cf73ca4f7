"""Groups of tasks: what each holds, and how its mean is weighted."""

from __future__ import annotations

from collections.abc import Mapping
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

    Raises:
        ValueError: the group holds itself.
    """
    return tuple(dict.fromkeys(_tasks(groups, name, ())))


def _tasks(groups: Groups, name: str, within: tuple[str, ...]) -> list[str]:
    if name in within:
        raise ValueError(f"the group '{name}' holds itself")
    if name not in groups:
        return [name]
    return [task for member in groups[name].members for task in _tasks(groups, member, (*within, name))]


def outermost(groups: Groups) -> list[str]:
    """The groups that no other one holds, in order."""
    held = {member for group in groups.values() for member in group.members}
    return [name for name in groups if name not in held]
