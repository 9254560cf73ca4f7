"""Rows of tasks, columns of models: in each cell a curve and its last value."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence

from evalrun.commands.summary.curve_values import TaskCurve
from evalrun.commands.summary.sparkline import Scale, gap, marks, number, scale_of
from evalrun.core.console import shortened
from evalrun.core.directions import is_lower_better

_LEAST = 8  # marks of a curve, before models go into another table below
_NAME = 16  # columns that a long name has at least
_GAP = "  "


def lines(curves: Sequence[TaskCurve], width: int, encoding: str) -> list[str]:
    """The table, in several parts where the models do not fit side by side, and a legend above it.

    Args:
        curves: In the order that tasks and models are to have.
        width: Columns of the terminal.
        encoding: Of the stream.
    """
    if not curves:
        return []
    metrics = {curve.task: curve.metric for curve in curves}
    models = list(dict.fromkeys(curve.model for curve in curves))
    scales = {task: scale_of([v for curve in curves if curve.task == task for v in curve.values]) for task in metrics}
    one_metric = len(set(metrics.values())) == 1
    longest, numbers = max(len(curve.values) for curve in curves), max(len(_last(curve)) for curve in curves)
    left = [["task", "scale"]] if longest > 1 else [["task"]]
    widest = max(_NAME, width // 3)
    about = {curve.task: curve for curve in curves}
    for task, metric in metrics.items():
        said = [f"mean of {about[task].tasks}"] if about[task].tasks > 1 else []
        said += [] if one_metric else [f"{metric}{_down(metric, encoding)}"]
        name = task + (f" ({', '.join(said)})" if said else "")
        indent = _GAP * about[task].depth
        left.append([indent + shortened(name, widest - len(indent)), str(scales[task] or "")][: len(left[0])])
    room = width - sum(max(map(len, column)) + len(_GAP) for column in zip(*left, strict=True)) + len(_GAP)
    heads = {model: shortened(model, max(_NAME, room - len(_GAP))) for model in models}
    drawn, columns = _fit(list(heads.values()), longest, numbers, room)
    cells = {(curve.task, curve.model): _cell(curve, scales, drawn, numbers, encoding) for curve in curves}
    what = f"{(one := next(iter(metrics.values())))}{_down(one, encoding)}" if one_metric else "the primary metric"
    told = textwrap.wrap(_legend(curves, what, longest, drawn, encoding), width)
    for start in range(0, len(models), columns):
        part = models[start : start + columns]
        rows = [[*left[0], *(heads[model] for model in part)]]
        rows += [[*row, *(cells.get((task, model), "") for model in part)]
                 for task, row in zip(metrics, left[1:], strict=True)]  # fmt: skip
        told += ["", *_aligned(rows)]
    return told


def _fit(models: Sequence[str], longest: int, numbers: int, room: int) -> tuple[int, int]:
    """How many marks a curve has, and how many models stand side by side, in so many characters."""
    if longest == 1:
        return 0, max(1, room // (len(_GAP) + max(numbers, *map(len, models))))
    beside = len(_GAP) + 1 + numbers
    least = max(len(_GAP) + max(map(len, models)), min(longest, _LEAST) + beside)
    parts = math.ceil(len(models) / max(1, room // least))
    columns = math.ceil(len(models) / parts)
    return max(min(longest, _LEAST), min(longest, room // columns - beside)), columns


def _cell(curve: TaskCurve, scales: Mapping[str, Scale | None], drawn: int, numbers: int, encoding: str) -> str:
    scale = scales[curve.task]
    if not drawn or scale is None:
        return _last(curve)
    return f"{marks(curve.values, drawn, scale, encoding):<{drawn}} {_last(curve):>{numbers}}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [_GAP.join(f"{cell:<{size}}" for cell, size in zip(row, wide, strict=True)).rstrip() for row in rows]


def _legend(curves: Sequence[TaskCurve], what: str, longest: int, drawn: int, encoding: str) -> str:
    seeds = max(curve.seeds for curve in curves)
    what += f" (mean of {seeds} training seeds)" if seeds > 1 else ""
    if longest == 1:
        return f"{what}:"
    steps = f"at the {longest} steps" if drawn >= longest else f"at {drawn} of {longest} steps"
    empty = any(not math.isfinite(value) for curve in curves for value in curve.values)
    missing = f"; {gap(encoding)} = no result" if empty else ""
    missing += "; groups have the mean of their tasks" if any(curve.tasks > 1 for curve in curves) else ""
    return f"{what} {steps}, then its last value; each task on its own scale{missing}:"


def _down(metric: str, encoding: str) -> str:
    """A mark beside a metric of which less is better, as in the table of an analysis."""
    if not is_lower_better(metric):
        return ""
    try:
        return " ↓".encode(encoding).decode(encoding)
    except (LookupError, UnicodeEncodeError):
        return ", less is better"


def _last(curve: TaskCurve) -> str:
    there = [value for value in curve.values if math.isfinite(value)]
    return number(there[-1]) if there else ""
