"""Items with several right answers: lm-eval decides by the first row of a task whether all have one or several.

Each right answer is asked about as if it were the only one, and the item has the best of what comes out: what lm-eval
computes itself where all rows have lists, and for acc_mutual_info and rows of both kinds too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from evalrun.tasks.targets import has_lists


@contextlib.contextmanager
def answered(task: Any) -> Iterator[None]:
    """Let lm-eval score a task's items one by one, each as its own answer asks for."""
    judge = {"multiple_choice": _choices, "generate_until": _text}.get(task.OUTPUT_TYPE)
    if judge is None or callable(task.config.process_results) or not has_lists(task):
        yield
        return
    plain, several = task.process_results, task.multiple_target

    def judged(document: Mapping[str, Any], results: Any) -> dict[str, Any]:
        try:
            return judge(task, plain, document, results)
        finally:
            task.multiple_target = several

    task.process_results = judged
    try:
        yield
    finally:
        task.__dict__.pop("process_results", None)


def _text(task: Any, plain: Any, document: Mapping[str, Any], results: Any) -> dict[str, Any]:
    """The metrics of an item whose answer is a text: any of the right ones will do."""
    gold = task.doc_to_target(document)
    task.multiple_target = len(gold) if isinstance(gold, list) else 0
    found: dict[str, Any] = plain(document, results)
    return found


def _choices(task: Any, plain: Any, document: Mapping[str, Any], results: Any) -> dict[str, Any]:
    """The metrics of an item; with several right answers, of each metric the best over them.

    Args:
        task: lm-eval's, whose answer is replaced meanwhile.
        plain: Its own `process_results`.
        document: The row.
        results: Log-likelihoods of the choices.
    """
    of_items = task.doc_to_target
    gold = of_items(document)
    task.multiple_target = 0
    if not isinstance(gold, list):
        single: dict[str, Any] = plain(document, results)
        return single
    best: dict[str, Any] = {}
    try:
        for answer in gold:
            task.doc_to_target = lambda *_, answer=answer: answer
            for metric, value in plain(document, results).items():
                best[metric] = max(best.get(metric, value), value)
    finally:
        task.doc_to_target = of_items
    return best
