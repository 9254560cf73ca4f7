"""Items with several right answers, and metrics that the rows of a task do not allow: said when the task is built."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from evalrun.core.text import counted

_PAIRS = frozenset({"f1", "mcc", "brier_score", "likelihood"})  # of the one right answer and what was said


@lru_cache(maxsize=256)
def has_lists(task: Any) -> bool:
    """Whether some item's answer is a list; lm-eval's task object."""
    if getattr(task, "multiple_input", 0) or not hasattr(task, "multiple_target"):
        return False
    return any(isinstance(task.doc_to_target(document), list) for document in task.eval_docs)


def problem(task: Any) -> str | None:
    """The first row that one of the task's metrics cannot score, as a sentence without its end; None for a sound task.

    Args:
        task: lm-eval's task object, its rows checked against the templates.
    """
    if task.OUTPUT_TYPE != "multiple_choice" or callable(task.config.process_results) or task.multiple_input:
        return None
    asked = {name for name in task.aggregation() if name in _PAIRS}
    return next(_problems(task, asked), None) if asked or has_lists(task) else None


def _problems(task: Any, asked: set[str]) -> Iterator[str]:
    """Rows whose right answers f1, mcc or brier_score cannot be computed of.

    Args:
        task: lm-eval's, with its documents.
        asked: Those of these metrics that it has.
    """
    by_lm_eval = {name for name in asked if task.aggregation()[name].__module__ == "lm_eval.api.metrics"}
    first = 0
    for row, document in enumerate(task.eval_docs, start=1):
        gold = task.doc_to_target(document)
        if isinstance(gold, list) and not gold:
            yield f"row {row} has no right answer: its list is empty"
        if isinstance(gold, list) and len(gold) > 1 and asked:
            yield f"row {row} has several right answers, of which {' and '.join(sorted(asked))} cannot be computed"
        if not by_lm_eval:
            continue
        choices = len(task.doc_to_choice(document))
        first = first or choices
        if "f1" in by_lm_eval and choices > 2:
            yield f"row {row} has {choices} choices, and f1 is of two: leave it out, or take mcc"
        if "brier_score" in by_lm_eval and choices != first:
            own = counted(choices, "choice")
            yield f"row {row} has {own} and row 1 has {first}: brier_score wants equal numbers of them"
