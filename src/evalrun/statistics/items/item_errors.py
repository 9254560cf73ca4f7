"""Errors of what is averaged over items: of items drawn one by one, or of clusters of items (see `clusters`)."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from evalrun.statistics.items.clusters import Codes, clustered_means
from evalrun.statistics.items.values import Floats


def mean_interval(each: Floats, alpha: float, clusters: Codes | None = None) -> tuple[float, float, float]:
    """A mean over items with its interval; NaN ends of a single item, or cluster.

    Args:
        each: (items,)
        alpha: One minus the level.
        clusters: (items,) which items belong together; None for items that were drawn one by one.
    """
    mean, reach = float(each.mean()), reach_of(each, alpha, clusters)
    return mean, mean - reach, mean + reach


def reach_of(each: Floats, alpha: float, clusters: Codes | None = None) -> float:
    """Half of the interval of a mean over items, or of what they add up to by their influences; NaN of one.

    Args:
        each: (items,)
        alpha: One minus the level.
        clusters: (items,) which items belong together: then the interval is t's; None: the normal one of single items.
    """
    error, df = _error(each, clusters)
    return -float(ndtri(alpha / 2) if df is None else stdtrit(df, alpha / 2)) * error


def above_zero(each: Floats, clusters: Codes | None = None) -> float:
    """One-sided p of the test that a mean over items is 0 or less: z, or t of clusters; 1 where all are alike.

    Args:
        each: (items,)
        clusters: (items,) which items belong together; None for items that were drawn one by one.
    """
    error, df = _error(each, clusters)
    if not error > 0:
        return 1.0  # one item or cluster, or all alike: nothing to judge by
    z = -float(each.mean()) / error
    return float(ndtr(z) if df is None else stdtr(df, z))


def _error(each: Floats, clusters: Codes | None) -> tuple[float, float | None]:
    """Standard error of a mean, NaN where it cannot be told, and its degrees of freedom; None: a normal one."""
    if clusters is None:
        return (float(each.std(ddof=1)) / float(np.sqrt(len(each))) if len(each) > 1 else np.nan), None
    _, codes = np.unique(clusters, return_inverse=True)
    if not len(codes) or codes.max() < 1:
        return np.nan, None
    found = clustered_means(each[:, None], codes)
    return float(np.sqrt(found.variance[0])), found.df
