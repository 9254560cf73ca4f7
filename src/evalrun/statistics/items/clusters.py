"""Errors of means over items that were not drawn one by one: several share a template or a passage.

What one template makes easy it makes easy for all of its items, so 1,000 items of 20 templates say less than 1,000
unrelated ones. Miller 2024, "Adding Error Bars to Evals" (arXiv:2411.00640), asks for errors clustered by template: the
products of the deviations of all pairs of a cluster are added to the variance. Here that sum is bias-reduced (CR2, Bell
& McCaffrey 2002), with Satterthwaite's degrees of freedom (Pustejovsky & Tipton 2018), since clusters are often few. It
is clubSandwich's of a regression on a constant, and the plain standard error where each item is its own cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

from evalrun.core.text import counted
from evalrun.statistics.items.values import Floats

_NOTHING = 1e-12  # a rounding error of a mean
Codes = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class TaskClusters:
    """Which items of a task belong together."""

    column: str  # of the task's data
    items: pd.DataFrame | None  # one row an item: doc_id, doc_hash, cluster; None where there are none
    why: str = ""  # there are none


Clusters = Callable[[str], TaskClusters]
"""Task -> its clusters."""


@dataclass(frozen=True)
class ClusteredMeans:
    """Means of several results over the same items."""

    mean: Floats  # (results,)
    covariance: Floats  # (results, results) of the means, by the sampling of clusters
    df: float  # of t tests of any mean or difference of means
    clusters: int

    @property
    def variance(self) -> Floats:
        """(results,) the variance of each mean, such as an accuracy."""
        return np.diag(self.covariance)

    def variance_of_difference(self, one: int, other: int) -> float:
        """The variance of the difference between the means of two results, on the same items."""
        c = self.covariance
        return max(float(c[one, one] + c[other, other] - 2 * c[one, other]), 0.0)


def clustered_means(values: Floats, codes: Codes | None, weights: Floats | None = None) -> ClusteredMeans:
    """Means with the covariance of their errors, clustered.

    Args:
        values: (items, results) a metric on each item; of a ratio of sums `Sums.linear`.
        codes: (items,) the cluster of each item: 0, 1, ..., each at least once, two or more; None: each its own.
        weights: (items,) of a ratio, the denominators: an item is a cluster of so many bytes, say.
    """
    n = len(values)
    codes = np.arange(n, dtype=np.int64) if codes is None else codes
    count = int(codes.max()) + 1
    mean = values.mean(axis=0)
    sums = np.zeros((count, values.shape[1]))
    np.add.at(sums, codes, values - mean)
    share = np.bincount(codes, weights, minlength=count) / (n if weights is None else weights.sum())
    scaled = sums / np.sqrt(1 - share)[:, None]
    # How the scaled sums would covary if items were independent: of i and j (w_i w_j)^(1/2), w = share^2 / (1 - share),
    # of i with itself its share. df says how their squares then vary.
    w = share**2 / (1 - share)
    df = 1 / ((share**2).sum() + w.sum() ** 2 - (w**2).sum())
    return ClusteredMeans(mean, scaled.T @ scaled / n**2, float(df), count)


def clusters_of_items(known: TaskClusters, keys: pd.DataFrame) -> tuple[Codes | None, str]:
    """The cluster of each of some items; None, and why, where the items are not those of the task or are not clustered.

    Args:
        known: The task's.
        keys: One row an item: doc_id and, where it is known, doc_hash.
    """
    if known.items is None:
        return None, f"not clustered: {known.why}"
    by = [name for name in ("doc_id", "doc_hash") if name in keys and keys[name].ne("").all()]
    found = keys[by].merge(known.items.drop_duplicates(by), on=by, how="left", indicator=True)
    strange = int((found["_merge"] != "both").sum())
    if strange:
        return None, f"not clustered: {strange} of {counted(len(keys), 'item')} are not those of the task's file here"
    empty = int(found["cluster"].isna().sum())
    if empty:
        return None, f"not clustered: {counted(empty, 'item')} without '{known.column}'"
    codes, labels = pd.factorize(found["cluster"])
    if len(labels) < 2:
        return None, f"not clustered: all items have one '{known.column}'"
    return np.asarray(codes, dtype=np.int64), ""


def unclustered(tasks: Iterable[str], clusters: Clusters | None) -> list[str]:
    """Why tasks have no clusters, of those that have none; nothing where none were asked for."""
    return [] if clusters is None else [found.why for task in tasks if (found := clusters(str(task))).items is None]


def t_test(difference: float, variance: float, df: float, alpha: float) -> tuple[float, float, float]:
    """Two-sided p of no difference, and the interval of 1 - alpha; NaN where there is a difference without variance."""
    error = float(np.sqrt(variance))
    if error <= _NOTHING:
        return (1.0 if abs(difference) <= _NOTHING else np.nan), np.nan, np.nan
    reach = -float(stdtrit(df, alpha / 2)) * error
    return 2 * float(stdtr(df, -abs(difference) / error)), difference - reach, difference + reach
