"""What groups hold and how they weigh it, for the means over their tasks: sets of the user's, and lm-eval's groups.

A tag of lm-eval's is no group: lm-eval has no mean of one, and where a group names a tag it holds the tag's tasks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from evalrun.core.errors import ConfigError
from evalrun.core.task_group import TaskGroup, tasks_of
from evalrun.tasks.groups import GroupHead, is_group, members, own_names
from evalrun.tasks.task_yaml import load


def task_groups(names: Iterable[str]) -> dict[str, TaskGroup]:
    """The groups among names, and all groups that they hold: the outer before the inner.

    Args:
        names: As for `groups.members`: files of conf/task, sets of them, or names that lm-eval knows.

    Raises:
        ConfigError: a name that is no task, or two things of one name.
        TaskError: a group that cannot be read.
    """
    heads: dict[tuple[str, ...], GroupHead] = {}
    held: dict[tuple[str, ...], dict[str, None]] = {}
    tasks = set()
    for member in members(names):
        tasks.add(member.name)
        path = tuple(head for head in member.within if not head.is_tag)
        for depth, head in enumerate(path, start=1):
            place = tuple(above.name for above in path[:depth])
            heads[place] = head
            inner = path[depth].name if depth < len(path) else member.name
            held.setdefault(place, {})[inner] = None
    found: dict[str, TaskGroup] = {}
    for place, head in heads.items():
        group = TaskGroup(head.name, _title(head), tuple(held[place]), _by_size(head.content))
        if found.setdefault(head.name, group) != group:
            raise ConfigError(
                f"two groups are named '{head.name}' and hold different tasks or weigh them differently: rename one."
            )
    _refuse_names_of_tasks(found, tasks)
    return found


def single(groups: Mapping[str, TaskGroup]) -> list[str]:
    """A sentence for each group of one task, which is said and not refused: it may be there to set options."""
    return [
        f"the group '{name}' holds one task, '{only[0]}', and so has no mean beside that task's value."
        for name in groups
        if len(only := tasks_of(groups, name)) == 1
    ]


def _refuse_names_of_tasks(found: Mapping[str, TaskGroup], tasks: Iterable[str]) -> None:
    """See that no group has the name of a task, whose curve would be under the same name.

    Raises:
        ConfigError: all of them at once.
    """
    own, taken = own_names(), set(tasks)
    inline = [name for name in found if name in own and not is_group(load(own[name], tolerant=True))]
    if both := [name for name in found if name in taken or name in inline]:
        raise ConfigError([f"'{name}' is the name of a group and of a task: rename the group." for name in both])


def _title(head: GroupHead) -> str:
    """The name for people: metadata.title as tasks have it, or lm-eval's group_alias."""
    about = head.content.get("metadata")
    title = about.get("title") if isinstance(about, Mapping) else None
    return str(title or head.content.get("group_alias") or head.name)


def _by_size(content: Mapping[str, Any]) -> dict[str, bool]:
    """Metric -> whether its mean is weighted by items; lm-eval weighs where an entry does not say."""
    entries = content.get("aggregate_metric_list") or []
    listed = entries if isinstance(entries, list) else [entries]
    return {
        str(entry["metric"]): bool(entry.get("weight_by_size", True))
        for entry in listed
        if isinstance(entry, Mapping) and "metric" in entry
    }
