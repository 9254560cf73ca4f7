"""The points of groups on a model's curve: the mean over a group's tasks, at the steps that have all of them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from evalrun.core.task_group import Groups, mean_of, tasks_of
from evalrun.tracking.slugs import metric_key

Point = tuple[str, float, int, int]  # metric key, value, MLflow timestamp, training step


class CurveRow(NamedTuple):
    """A metric of a task at a step of a curve: what of the tidy table a point is made of."""

    step: int
    task: str
    metric: str
    value: float
    n: int
    finished_ms: int
    tokens: int
    flops: int
    n_params: int
    stage: str = ""


def group_points(latest: Sequence[CurveRow], groups: Groups) -> Iterator[Point]:
    """Points of groups, by their weighting; by the other one too, with _by_task or _by_size at the metric's name,
    where tasks differ in size.

    Args:
        latest: One row for each step, task and metric of a curve.
        groups: The groups, and those that they hold.
    """
    several = {name: tasks_of(groups, name) for name in groups}
    taken, wanted = {row.task for row in latest}, {task for tasks in several.values() for task in tasks}
    results: dict[tuple[int, str], dict[str, tuple[float, int, int]]] = defaultdict(dict)
    for row in latest:
        if row.task in wanted and not math.isnan(row.value):
            results[row.step, row.metric][row.task] = row.value, row.n, row.finished_ms
    for name, tasks in several.items():
        if len(tasks) < 2 or name in taken:
            continue
        for (step, metric), own in results.items():
            if not all(task in own for task in tasks):
                continue
            values, sizes, times = zip(*(own[task] for task in tasks), strict=True)
            is_by_size = groups[name].is_by_size(metric)
            kinds = {metric: is_by_size}
            if len(set(sizes)) > 1:
                kinds[f"{metric}_by_task" if is_by_size else f"{metric}_by_size"] = not is_by_size
            for said, weighted in kinds.items():
                if not weighted or min(sizes) > 0:
                    mean = mean_of(values, sizes if weighted else None)
                    yield metric_key(said, name), mean, max(times), step
