"""Paired proportions: the exact McNemar test and Newcombe's interval (see `paired`)."""

from __future__ import annotations

import numpy as np
from scipy.special import bdtr
from statsmodels.stats.proportion import proportion_confint

from evalrun.statistics.items.values import Floats


def mcnemar(fell: Floats, rose: Floats) -> Floats:
    """Two-sided exact McNemar p-values from counts of items that changed either way; 1 where none did."""
    changed = fell + rose
    p: Floats = np.minimum(2 * bdtr(np.minimum(fell, rose), changed.astype(np.int64), 0.5), 1.0)
    return p


def newcombe(both: Floats, fell: Floats, rose: Floats, n: float, alpha: float) -> tuple[Floats, Floats]:
    """Interval of the difference after - before of paired proportions: Newcombe's method 10.

    Args:
        both: Items that are 1 before and after.
        fell: Items that are 1 before only.
        rose: Items that are 1 after only.
        n: All items.
        alpha: One minus the confidence level.
    """
    both, fell, rose = (np.asarray(counts, dtype="float64") for counts in (both, fell, rose))
    neither = n - both - fell - rose
    one, two = (both + rose) / n, (both + fell) / n
    low_one, high_one = proportion_confint(both + rose, n, alpha, method="wilson")
    low_two, high_two = proportion_confint(both + fell, n, alpha, method="wilson")
    margins = (both + rose) * (both + fell) * (neither + rose) * (neither + fell)
    agreement = both * neither - fell * rose
    agreement = np.where(agreement > 0, np.maximum(agreement - n / 2, 0), agreement)
    phi = np.divide(agreement, np.sqrt(margins), out=np.zeros_like(margins), where=margins > 0)

    def reach(a: Floats, b: Floats) -> Floats:
        return np.sqrt(np.maximum(a**2 - 2 * phi * a * b + b**2, 0))

    return (
        one - two - reach(one - low_one, high_two - two),
        one - two + reach(high_one - one, two - low_two),
    )
