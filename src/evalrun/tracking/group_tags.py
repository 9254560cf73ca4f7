"""Groups of tasks as tags of a suite's experiment, one a group: how they are written and read."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from evalrun.core.plain_names import slug
from evalrun.core.task_group import TaskGroup, in_order

GROUP = "evalrun.group."

log = logging.getLogger(__name__)


def tag_of(group: TaskGroup) -> tuple[str, str]:
    """Key and text: JSON of what the group is called, holds, and says of its weighting."""
    said = {"name": group.name, "title": group.title, "members": group.members, "by_size": dict(group.by_size)}
    return GROUP + slug(group.name), json.dumps(said, separators=(",", ":"))


def groups_of(tags: Mapping[str, str]) -> dict[str, TaskGroup]:
    """The groups that an experiment's tags tell of, the outer before the inner; what others edited is passed over."""
    found = {}
    for key, text in sorted(tags.items()):
        if key.startswith(GROUP):
            group = _group(text)
            if group is None:
                log.warning("the tag '%s' is not as evalrun writes it, so its group is passed over", key)
            else:
                found[group.name] = group
    return in_order(found)


def _group(text: str) -> TaskGroup | None:
    """What a tag says of a group; None if it does not."""
    try:
        said: Any = json.loads(text)
        by_size = {str(metric): bool(weighted) for metric, weighted in said["by_size"].items()}
        return TaskGroup(str(said["name"]), str(said["title"]), tuple(map(str, said["members"])), by_size)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
