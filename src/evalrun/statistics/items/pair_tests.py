"""All pairs of a curve's checkpoints tested on the same items.

Where a metric is 0 or 1 on each item: the exact McNemar test, with Tango's interval. Else the paired t test (a
permutation test has no p-values small enough for thousands of pairs). Of a ratio of sums, such as bits per byte, the t
test of linearised values. See `paired`. Items of clusters: the t test with errors clustered, of any metric
(`clusters`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

from evalrun.statistics.items.clusters import Clusters, Codes, clustered_means, clusters_of_items
from evalrun.statistics.items.paired import MCNEMAR, RATIO_TEST, T_TEST, Z_TEST
from evalrun.statistics.items.paired_shares import mcnemar
from evalrun.statistics.items.score_interval import score_interval
from evalrun.statistics.items.values import Floats, Items, align, columns_of, item_values

Interval = Callable[[int, float], tuple[float, float]]


@dataclass(frozen=True)
class PairTests:
    """All pairs of an earlier and a later of k checkpoints, in the order of `pairs_of`; none unless `known`."""

    known: bool
    method: str
    note: str  # of items that not all have; or why there are no tests
    n: float = np.nan  # items
    value: Floats | None = None  # (k,) in the metric's own direction, over the items that all have
    variance: Floats | None = None  # (pairs,) of the difference by item sampling
    p: Floats | None = None  # (pairs,) two-sided, of each pair for itself
    interval: Interval | None = None  # of later - earlier of one pair, at level alpha

    @property
    def of_point(self) -> Floats:
        """(k,) half of the variance of the difference between neighbours: an item variance of each checkpoint."""
        assert self.value is not None
        assert self.variance is not None
        k = len(self.value)
        earlier, later = pairs_of(k)
        next_one = self.variance[later == earlier + 1] / 2
        return np.concatenate([next_one[:1], (next_one[:-1] + next_one[1:]) / 2, next_one[-1:]])


@lru_cache(maxsize=32)
def pairs_of(k: int) -> tuple[np.ndarray[Any, np.dtype[np.intp]], np.ndarray[Any, np.dtype[np.intp]]]:
    """Earlier and later checkpoint of each pair of k."""
    return np.triu_indices(k, 1)


def pair_tests(curve: pd.DataFrame, items: Items, clusters: Clusters | None = None) -> PairTests:
    """Test the pairs of one curve.

    Args:
        curve: Its rows in order of training: columns task, metric, value and run_id.
        items: Gives per-item results.
        clusters: Gives the clusters of a task's items; None for items that were drawn one by one.

    Returns:
        The tests, or why there are none.
    """
    if len(curve) < 2:
        return _none("one checkpoint")
    metric, task = str(curve["metric"].iloc[0]), str(curve["task"].iloc[0])
    columns = columns_of(metric)
    found = [item_values(items(str(run_id), task, columns), metric) for run_id in curve["run_id"].tolist()]
    there = [values for values in found if values is not None]
    if len(there) < len(found):
        return _none(f"{len(found) - len(there)} of {len(found)} checkpoints without per-item results")
    if not all(one.average_to(value) for one, value in zip(there, curve["value"].astype("float64"), strict=True)):
        return _none(f"'{metric}' is not the mean over items")
    aligned = align(there)
    if len(aligned.values) < 2:
        return _none(aligned.note or "one item")
    values, note = aligned.values, aligned.note
    if clusters is not None and aligned.keys is not None:
        known = clusters(task)
        codes, why = clusters_of_items(known, aligned.keys)
        if codes is not None:
            method = f"{T_TEST} with errors clustered by {known.column}"
            return _by_cluster(values, codes, aligned.weights, method, note)
        note = "; ".join(part for part in (note, why) if part)
    if aligned.weights is not None:
        return _by_cluster(values, None, aligned.weights, RATIO_TEST, note)
    binary = bool(((values == 0) | (values == 1)).all())
    return _by_mcnemar(values, note) if binary else _by_t(values, note)


def _none(why: str) -> PairTests:
    return PairTests(False, Z_TEST, f"{why}; conservative")


def _by_mcnemar(values: Floats, note: str) -> PairTests:
    """Of values that are 0 or 1: (items, checkpoints)."""
    n, k = values.shape
    i, j = pairs_of(k)
    both = (values.T @ values)[i, j]
    right = values.sum(axis=0)
    fell, rose = right[i] - both, right[j] - both
    variance = (fell + rose - (rose - fell) ** 2 / n) / n**2

    def interval(at: int, alpha: float) -> tuple[float, float]:
        return score_interval(int(fell[at]), int(rose[at]), n, alpha / 2, alpha / 2)

    return PairTests(True, MCNEMAR, note, n, right / n, variance, mcnemar(fell, rose), interval)


def _by_t(values: Floats, note: str) -> PairTests:
    """Of any values: (items, checkpoints). The variance of a difference follows from the covariances."""
    n, k = values.shape
    i, j = pairs_of(k)
    mean = values.mean(axis=0)
    # Taking each item's own level out changes no difference and keeps the digits that the subtraction would lose.
    covariance = np.atleast_2d(np.cov(values - values.mean(axis=1, keepdims=True), rowvar=False))
    variance = np.maximum(covariance[i, i] + covariance[j, j] - 2 * covariance[i, j], 0.0) / n
    return _by_variance(mean, variance, n, n - 1, T_TEST, note)


def _by_cluster(values: Floats, codes: Codes | None, weights: Floats | None, method: str, note: str) -> PairTests:
    """Of any values, of clusters or of items that weigh unlike.

    Args:
        values: (items, checkpoints)
        codes: (items,) clusters; None: each item its own.
        weights: (items,) of a ratio; None: all alike.
        method: What the test is called.
        note: Of the items.
    """
    found = clustered_means(values, codes, weights)
    i, j = pairs_of(values.shape[1])
    c = found.covariance
    variance = np.maximum(c[i, i] + c[j, j] - 2 * c[i, j], 0.0)
    return _by_variance(found.mean, variance, len(values), found.df, method, note)


def _by_variance(mean: Floats, variance: Floats, n: int, df: float, method: str, note: str) -> PairTests:
    """The t tests of all pairs.

    Args:
        mean: (k,)
        variance: (pairs,) of the differences.
        n: Items.
        df: Degrees of freedom of the variance.
        method: What the test is called.
        note: Of the items.
    """
    i, j = pairs_of(len(mean))
    difference, error = mean[j] - mean[i], np.sqrt(variance)
    t = np.divide(np.abs(difference), error, out=np.where(difference == 0, 0.0, np.inf), where=error > 0)

    def interval(at: int, alpha: float) -> tuple[float, float]:
        reach = -error[at] * stdtrit(df, alpha / 2)
        return float(difference[at] - reach), float(difference[at] + reach)

    return PairTests(True, method, note, n, mean, variance, 2 * stdtr(df, -t), interval)
