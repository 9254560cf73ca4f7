"""How a model's log-probabilities go with the numbers that people gave to items: metrics of a task that names them.

Of an item with choices it is the margin: the log-probability of the right choice less that of the best wrong one, in
nats; of minimal pairs that is by how much the right sentence is the more likely one. Of other items it is the
log-probability of what is scored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from evalrun.scoring.asked_items import AskedItem
from evalrun.statistics.words.correlates import correlated
from evalrun.tasks import people, right_answers

METRICS = ("human_pearson", "human_spearman")  # of both more is better


def human_metrics(
    task: Any, items: Sequence[AskedItem], answers: Sequence[Sequence[Any]]
) -> tuple[dict[str, float], dict[str, float]]:
    """The correlations of a task with people, and their standard errors over items.

    Args:
        task: lm-eval's object of it.
        items: Its items.
        answers: What was answered to the requests of each.

    Returns:
        Two empty ones where the task names no such numbers, or fewer than `people.FEWEST` of these items have one.
    """
    if getattr(task, "human", None) is None:
        return {}, {}
    said = np.array([people.number_of(task, item.doc) for item in items], dtype=np.float64)
    found = np.array([_value(task, *one) for one in zip(items, answers, strict=True)], dtype=np.float64)
    both = np.isfinite(said) & np.isfinite(found)
    if both.sum() < people.FEWEST or not np.ptp(said[both]) > 0 or not np.ptp(found[both]) > 0:
        return {}, {}
    pearson, spearman = correlated(found[both], said[both])
    metrics = dict(zip(METRICS, (pearson[0], spearman[0]), strict=True))
    return metrics, dict(zip(METRICS, (pearson[1], spearman[1]), strict=True))


def _value(task: Any, item: AskedItem, answers: Sequence[Any]) -> float:
    """What the model says of an item, in nats; NaN where no choice is right, or all are."""
    logprobs = [float(answer[0] if isinstance(answer, (list, tuple)) else answer) for answer in answers]
    if item.choices is None:
        return logprobs[0]
    right = right_answers.right(task, item.doc, item.choices)
    own = [logprobs[place] for place in right]
    others = [logprobs[place] for place in range(len(item.choices)) if place not in right]
    return max(own) - max(others) if own and others else math.nan
