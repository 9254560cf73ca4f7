"""What evalrun asks of lm-eval that has no public name: an upgrade that changes it breaks this file alone.

The methods that `scoring.lm_eval_model` overrides are private too; they are in that module, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

METRIC_FUNCTIONS = ("process_results", "apply_filters", "_compute_task_aggregations")  # where it computes metrics


def import_function(spec: str, folder: Path) -> Any:
    """What `!function module.name` in a task file of a folder stands for.

    Raises:
        ImportError, AttributeError, ValueError: there is no such thing.
    """
    from lm_eval.tasks._yaml_loader import _import_func_in_yml

    return _import_func_in_yml(spec, folder)


def index_of(folder: Path) -> dict[str, Any]:
    """All tasks, groups and tags whose files are below a folder; takes seconds."""
    from lm_eval.tasks._index import TaskIndex

    index: dict[str, Any] = TaskIndex.build([folder])
    return index


def filters(task: Any) -> list[Any]:
    """A task's filters, each with a `name` and `apply`."""
    found: list[Any] = task._filters
    return found


def set_requests(task: Any, requests: Sequence[Any]) -> None:
    """Give a task its requests, as its `build_all_requests` would."""
    task._instances = requests


def aggregated(
    task: Any, values: Mapping[tuple[str, str], Sequence[Any]], bootstrap_iters: int
) -> tuple[dict[str, Any], int]:
    """A task's metrics and standard errors from those of its items.

    Args:
        task: lm-eval's task object.
        values: (metric, filter) -> an item's value each.
        bootstrap_iters: For standard errors without a closed form.

    Returns:
        `metric,filter` and `metric_stderr,filter` -> number; how many items there were.
    """
    from lm_eval.evaluator_utils import _compute_task_aggregations

    found: tuple[dict[str, Any], int] = _compute_task_aggregations(
        task, {key: list(some) for key, some in values.items()}, bootstrap_iters
    )
    return found
