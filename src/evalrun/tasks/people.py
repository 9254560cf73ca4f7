"""Numbers that people gave to items: ratings, shares of choices; a column of a task's data, named by `human`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from evalrun.core.errors import TaskError, suggest
from evalrun.core.text import counted

FEWEST = 4  # items with a number
_KINDS = ("multiple_choice", "loglikelihood", "loglikelihood_rolling")


def number_of(task: Any, document: Mapping[str, Any]) -> float:
    """What people said of an item; NaN where its row has nothing."""
    value = document.get(task.human)
    try:
        return math.nan if value is None or value == "" or isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return math.nan


def check(name: str, task: Any) -> None:
    """See that the column that a task names holds numbers, and different ones.

    Args:
        name: Of the task.
        task: lm-eval's object of it.

    Raises:
        TaskError: it does not, or the task has no log-likelihoods.
    """
    column = getattr(task, "human", None)
    if column is None:
        return
    if task.OUTPUT_TYPE not in _KINDS:
        raise TaskError(
            f"task '{name}' has human: {column}, but output_type: {task.OUTPUT_TYPE} gives no log-likelihoods to "
            f"compare people's numbers with: use {' or '.join(_KINDS)}."
        )
    columns = sorted({str(key) for document in task.eval_docs for key in document})
    if column not in columns:
        raise TaskError(
            f"task '{name}' has human: {column}, which is no column of its data: {suggest(column, columns)}"
        )
    numbers = []
    for row, document in enumerate(task.eval_docs, start=1):
        value = document.get(column)
        number = number_of(task, document)
        if math.isinf(number) or (math.isnan(number) and value not in (None, "")):
            raise TaskError(
                f"task '{name}': row {row} has {value!r} in '{column}', which human: names and which must be a number "
                "or empty."
            )
        numbers += [] if math.isnan(number) else [number]
    if len(numbers) < FEWEST or len(set(numbers)) < 2:
        raise TaskError(
            f"task '{name}': '{column}', which human: names, has {counted(len(set(numbers)), 'different number')} in "
            f"{counted(len(numbers), 'row')}: a correlation needs {FEWEST} rows with numbers, not all the same."
        )
