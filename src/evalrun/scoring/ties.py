"""Accuracy where it hangs on a tie or on something that is no number, which lm-eval gives to whatever choice is first.

A model that says the same of several choices has not chosen: each of them counts with the same probability, so that
the order in which a file lists them says nothing. lm-eval takes the first (`numpy.argmax`), and of choices whose
log-likelihood is NaN the first too. Choices tie when their log-likelihoods are equal to the last bit.
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evalrun.tasks import right_answers

_OF_LIKELIHOODS = {"acc", *right_answers.OF_ONE_CHOICE}  # metrics that see the choices' log-likelihoods as they are
Answer = tuple[float, bool]  # log-likelihood in nats, and whether it is what the model would say greedily


@dataclass
class TieCounter:
    """What was met in a task's items: metric -> those in which its highest value belongs to several choices."""

    ties: Counter[str] = field(default_factory=Counter)


def is_number(value: float) -> bool:
    """Whether a log-likelihood can be believed: minus infinity is what a model says of what it never says."""
    return value < math.inf  # False for NaN


def all_lost(answers: Sequence[float]) -> bool:
    """Whether an item's log-likelihoods say nothing: one is no number, or nothing has any probability."""
    return not all(map(is_number, answers)) or max(answers) == -math.inf


def chosen(answers: Sequence[float]) -> int:
    """The place of the first of the largest; what is no number is never chosen before what is one."""
    return max(range(len(answers)), key=lambda i: answers[i] if is_number(answers[i]) else -math.inf)


@contextlib.contextmanager
def counted(task: Any, tally: TieCounter, first: bool) -> Iterator[None]:
    """Let a task's accuracies be those of this module for a while, unless it computes them by code of its own.

    Args:
        task: lm-eval's task object.
        tally: Where ties are counted.
        first: Leave a tie to the first of its choices, as lm-eval does.
    """
    if task.OUTPUT_TYPE != "multiple_choice" or callable(task.config.process_results):
        yield
        return
    plain = task.process_results

    def judged(document: Mapping[str, Any], results: Sequence[Answer]) -> dict[str, Any]:
        sound = [(value if is_number(value) else -math.inf, greedy) for value, greedy in results]
        with np.errstate(invalid="ignore"):  # where all are minus infinity
            found: dict[str, Any] = plain(document, sound)
            expected = _expected(task, document, [value for value, _ in sound], found, tally)
            return found if first else found | expected

    task.process_results = judged
    try:
        yield
    finally:
        del task.process_results


def _expected(
    task: Any, document: Mapping[str, Any], answers: Sequence[float], found: Mapping[str, Any], tally: TieCounter
) -> dict[str, float]:
    """The accuracies of an item that differ from lm-eval's, which are right where one choice is above all others."""
    several = len(answers) // (1 + ("acc_mutual_info" in found))
    first = answers[:several]
    by: dict[str, Sequence[float]] = dict.fromkeys(_OF_LIKELIHOODS & found.keys(), first)
    if "acc_norm" in found or "acc_bytes" in found:
        choices = task.doc_to_choice(document)
        by["acc_norm"] = [_ratio(value, len(choice)) for value, choice in zip(first, choices, strict=True)]
        by["acc_bytes"] = [_ratio(value, len(choice.encode())) for value, choice in zip(first, choices, strict=True)]
    if "acc_mutual_info" in found:
        by["acc_mutual_info"] = [value - alone for value, alone in zip(first, answers[several:], strict=True)]
    changed = {}
    for metric in by.keys() & found.keys():
        values = [-math.inf if math.isnan(value) else value for value in by[metric]]
        highest = max(values)
        if values.count(highest) == 1:
            continue
        tally.ties[metric] += 1
        if metric not in right_answers.OF_ONE_CHOICE:  # of which an item has no share
            likeliest = [place for place, value in enumerate(values) if value == highest]
            right = right_answers.right(task, document, task.doc_to_choice(document))
            changed[metric] = sum(place in right for place in likeliest) / len(likeliest)
    return changed


def _ratio(value: float, length: int) -> float:
    """A log-likelihood by a length, as NumPy divides: what has no length is infinitely unlikely."""
    return value / length if length else math.copysign(math.inf, value)
