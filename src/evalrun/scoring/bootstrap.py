"""Standard errors of metrics without a closed form: lm-eval's bootstrap, in this process and for all draws at once.

lm-eval starts a pool of processes that computes the metric anew for each of 100,000 draws: minutes for an f1 of thirty
items, and tracebacks where a signal is handled. The draws here are the very same, from the same generator with the same
seeds, and so are the standard errors, to rounding.
"""

from __future__ import annotations

import contextlib
import logging
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from lm_eval.api import metrics as theirs

log = logging.getLogger(__name__)
_CHUNK = 1000  # draws from one seed, as lm-eval has it
_AT_ONCE = 4_000_000  # drawn items held in memory
_SAY_AFTER_S = 5.0

Draws = np.ndarray[Any, np.dtype[np.int64]]  # (draws, items): which item was drawn
Values = np.ndarray[Any, np.dtype[np.float64]]


@contextlib.contextmanager
def in_process() -> Iterator[None]:
    """While the block lasts, lm-eval's standard errors are computed here."""
    before = theirs.bootstrap_stderr
    theirs.bootstrap_stderr = stderr
    try:
        yield
    finally:
        theirs.bootstrap_stderr = before


def stderr(f: Callable[[Sequence[Any]], float], xs: Sequence[Any], iters: int) -> float:
    """The standard deviation of a metric over draws of its items with replacement.

    Args:
        f: One of lm-eval's aggregations.
        xs: An item's value each.
        iters: Draws.
    """
    statistic = _statistic(f, xs)
    chunk = min(_CHUNK, iters)
    values: list[float] = []
    began, said = time.monotonic(), False
    for seed in range(iters // chunk):
        for draws in _draws(seed, chunk, len(xs)):
            values += [float(value) for value in statistic(draws)]
        if not said and time.monotonic() - began > _SAY_AFTER_S:
            said = True
            log.info("  standard error of %s: %d draws of %d items", f.__name__, iters, len(xs))
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def _draws(seed: int, count: int, items: int) -> Iterator[Draws]:
    """The draws of `random.Random(seed).choices`, whose generator NumPy has too, in blocks that fit the memory."""
    state = random.Random(seed).getstate()[1]
    generator = np.random.RandomState()
    generator.set_state(("MT19937", np.array(state[:-1], dtype=np.uint32), state[-1], 0, 0.0))
    block = max(1, _AT_ONCE // max(items, 1))
    for first in range(0, count, block):
        uniform = generator.random_sample((min(block, count - first), items))
        yield np.floor(uniform * items).astype(np.int64)


def _statistic(f: Callable[[Sequence[Any]], float], xs: Sequence[Any]) -> Callable[[Draws], Any]:
    """A metric of many draws at once."""
    if f is theirs.perplexity:
        logs = np.array(xs, dtype=np.float64)
        return lambda draws: np.exp(-logs[draws].mean(axis=1))
    if f is theirs.median:
        numbers, middle = np.array(xs, dtype=np.float64), len(xs) // 2
        return lambda draws: np.partition(numbers[draws], middle, axis=1)[:, middle]
    if f is theirs.nanmean:
        some = np.array(xs, dtype=np.float64)
        return lambda draws: _nanmean(some[draws])
    if f in (theirs.f1_score, theirs.matthews_corrcoef):
        return _of_labels(f, xs)
    return lambda draws: [f([xs[i] for i in draw]) for draw in draws]


def _nanmean(values: Values) -> Values:
    counted = np.count_nonzero(~np.isnan(values), axis=1)
    with np.errstate(invalid="ignore"):
        found: Values = np.nansum(values, axis=1) / counted
    return found


def _of_labels(f: Callable[[Sequence[Any]], float], xs: Sequence[Any]) -> Callable[[Draws], Any]:
    """A metric of gold and predicted labels over draws, from how often each pair of labels was drawn."""
    labels = sorted({label for pair in xs for label in pair})
    place = {label: i for i, label in enumerate(labels)}
    size = len(labels)
    pairs = np.array([place[gold] * size + place[predicted] for gold, predicted in xs])

    def counts(draws: Draws) -> Values:
        drawn = pairs[draws] + size * size * np.arange(len(draws))[:, None]
        flat = np.bincount(drawn.ravel(), minlength=size * size * len(draws))
        return flat.reshape(-1, size, size).astype(np.float64)

    if f is theirs.matthews_corrcoef:
        return lambda draws: _matthews(counts(draws))
    return lambda draws: _f1(counts(draws), place.get(1))


def _matthews(table: Values) -> Values:
    """Matthews' correlation as scikit-learn computes it, of tables (draws, gold, predicted)."""
    gold, predicted = table.sum(axis=2), table.sum(axis=1)
    all_ = gold.sum(axis=1)
    right = np.trace(table, axis1=1, axis2=2)
    product = (all_**2 - (predicted**2).sum(axis=1)) * (all_**2 - (gold**2).sum(axis=1))
    covered = right * all_ - (gold * predicted).sum(axis=1)
    found: Values = np.divide(covered, np.sqrt(product), out=np.zeros_like(covered), where=product > 0)
    return found


def _f1(table: Values, positive: int | None) -> Values:
    """F1 of the label 1 as scikit-learn computes it: 0 where it is neither there nor said."""
    if positive is None:
        return np.zeros(len(table))
    hits = table[:, positive, positive]
    said = table[:, positive, :].sum(axis=1) + table[:, :, positive].sum(axis=1)
    found: Values = np.divide(2 * hits, said, out=np.zeros_like(hits), where=said > 0)
    return found
