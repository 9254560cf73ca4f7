"""Tasks under headings: by the cause of inverse scaling that they are meant to show, the same in report and MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

Task = TypeVar("Task", bound=Mapping[str, Any])

CONTROL = "control"  # the role of a task that measures general performance
_CAUSES = ("strong prior", "unwanted imitation", "distractor task", "spurious few-shot")  # McKenzie et al. 2023's order
_CONTROLS, _OTHER = "controls", "other"  # headings


def by_cause(tasks: list[Task]) -> list[tuple[str, list[Task]]]:
    """Tasks under headings: each cause, then the others, then the controls.

    Args:
        tasks: What is shown of each task; of it, `task`, `cause` and `role` are read.

    Returns:
        Heading and its tasks, whose order is kept; one group without a heading where neither cause nor role is known.
    """

    def rank(name: str) -> tuple[int, str]:
        known = _CAUSES.index(name) if name in _CAUSES else len(_CAUSES)
        return ({_CONTROLS: 100, _OTHER: 99}.get(name, known), name)

    names = {task["task"]: _CONTROLS if task["role"] == CONTROL else task["cause"] or _OTHER for task in tasks}
    if set(names.values()) == {_OTHER}:
        return [("", tasks)]
    ordered = sorted(set(names.values()), key=rank)
    return [(name, [task for task in tasks if names[task["task"]] == name]) for name in ordered]
