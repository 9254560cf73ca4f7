"""The points of a model's curve from the rows of the tidy table: metrics, their mean, sizes, stages, groups."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from evalrun.core.receipt import key_of
from evalrun.core.task_group import Groups
from evalrun.tracking.group_points import CurveRow, Point, group_points
from evalrun.tracking.slugs import metric_key

_MODEL = ["model", "seed"]


@dataclass(frozen=True)
class LineRows:
    """The rows of a model (and seed) in one way of scoring, the oldest first; they are objects only where asked for."""

    about: pd.Series[Any]  # its first row
    digest: bytes  # differs where any value that a point is made of does, and between versions
    _columns: Sequence[np.ndarray[Any, Any]]  # of `CurveRow`

    def each(self) -> list[CurveRow]:
        """The rows."""
        return [CurveRow(*values) for values in zip(*(column.tolist() for column in self._columns), strict=True)]


def rows_of_models(scored: pd.DataFrame) -> Iterator[LineRows]:
    """The rows of each model (and seed) in one way of scoring; the newest result of a step counts.

    All lines are sorted and digested at once: suites have a million rows.
    """
    names = [*CurveRow._fields[:-1], *(["stage"] if "stage" in scored else [])]
    newest = scored[[*_MODEL, *names, "n_params_nominal", "task_key"]]
    newest = newest.sort_values(["finished_ms", "task_key"], kind="stable")
    newest = newest.drop_duplicates([*_MODEL, "step", "task", "metric"], keep="last")
    line = newest.groupby(_MODEL, sort=False, dropna=False).ngroup().to_numpy()
    order = np.argsort(line, kind="stable")
    arrays = [newest[name].to_numpy() for name in names]
    digests = np.column_stack([pd.util.hash_array(array) for array in arrays])
    for own in np.split(order, np.flatnonzero(np.diff(line[order])) + 1):
        digest = hashlib.sha256(key_of(names).encode() + digests[own].tobytes()).digest()
        yield LineRows(newest.iloc[own[0]], digest, [array[own] for array in arrays])


def common_tasks(table: pd.DataFrame) -> set[str]:
    """The tasks with an accuracy at every checkpoint: only over these is a mean comparable along and between lines."""
    there = table[(table["metric"] == "acc") & table["value"].notna()]
    place = there.groupby(["model", "seed", "step"], sort=False, dropna=False).ngroup()
    places = pd.DataFrame({"task": there["task"], "place": place}).drop_duplicates()["task"].value_counts()
    return set(places.index[places == place.nunique()])


def points_of(rows: Sequence[CurveRow], common: set[str], groups: Groups) -> list[Point]:
    """Metrics of a curve, by key and training step: metric, value, Unix time in milliseconds, step.

    Args:
        rows: Of one model (and seed) in one way of scoring, the oldest first.
        common: Tasks that all steps have, over which the mean accuracy is taken.
        groups: Groups of tasks, which have means of their own.
    """
    points = list(group_points(rows, groups))
    accuracies: dict[int, list[tuple[float, int]]] = defaultdict(list)
    last: dict[int, CurveRow] = {}
    for row in rows:
        last[row.step] = row
        if math.isnan(row.value):
            continue
        points.append((metric_key(row.metric, row.task), row.value, row.finished_ms, row.step))
        if row.metric == "acc" and row.task in common:
            accuracies[row.step].append((row.value, row.finished_ms))
    for step, some in accuracies.items():
        mean = math.fsum(value for value, _ in some) / len(some)
        points.append(("acc/mean", mean, max(when for _, when in some), step))
    for step, row in last.items():
        numbers = {"tokens": row.tokens, "flops": row.flops, "n_params": row.n_params}
        points += [(name, float(value), row.finished_ms, step) for name, value in numbers.items()]
    if any(row.stage for row in rows):
        points += _stage_points(last)
    return _in_order(points)


def _stage_points(last: Mapping[int, CurveRow]) -> Iterator[Point]:
    """The metric `stage` of a curve: 0 in pretraining, 1 in the stage after it, and so on, so that a chart has steps.

    Args:
        last: Step -> its newest row.
    """
    order = {"": 0}
    for step in sorted(last):
        yield "stage", float(order.setdefault(last[step].stage, len(order))), last[step].finished_ms, step


def _in_order(points: Iterable[Point]) -> list[Point]:
    """Points by key and training step. A step that was computed again later than the next ones would be filed after
    them, since MLflow keeps a metric's history by time: it takes the time of those before it where that is later.
    """
    ordered: list[Point] = []
    for key, value, when, step in sorted(points, key=lambda point: (point[0], point[3])):
        before = ordered[-1][2] if ordered and ordered[-1][0] == key else when
        ordered.append((key, value, max(when, before), step))
    return ordered
