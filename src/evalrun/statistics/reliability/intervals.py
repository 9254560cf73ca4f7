"""How far a value lies from the truth by the items that were drawn: its standard error and its interval."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm
from statsmodels.stats.proportion import proportion_confint

from evalrun.statistics.shares import counted_items

Floats = np.ndarray[Any, np.dtype[np.float64]]

_LIKE = 0.02  # relative difference of standard errors within which a mean is taken for a share of right items


def with_intervals(table: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """The table with a two-sided 1 - alpha interval over items of each value.

    A share of n items has the standard error sqrt(p (1 - p) / (n - 1)); a value in [0, 1] whose standard error is this
    one, or is missing or 0, has Wilson's interval (Wilson 1927, JASA 22:209-212), which holds at 0 and 1 and with few
    items too. Any other value (a mean of probabilities, a log-probability) has value +- z x standard error, if it has
    one.

    Args:
        table: Columns value, stderr, n and, where it is known, metric.
        alpha: One less the coverage, in (0, 1).

    Returns:
        A copy with the columns low and high (NaN where nothing is known) and interval (`wilson`, `normal` or "").
    """
    value, given = (table[name].to_numpy(dtype="float64") for name in ("value", "stderr"))
    n = counted_items(table)
    inside = n >= 1
    p, items = np.where(inside, value, 0.5), np.where(inside, n, 1.0)
    binomial = np.sqrt(p * (1 - p) / np.maximum(items - 1, 1))
    known = given > 0
    share = inside & (~known | (np.abs(given - binomial) <= _LIKE * binomial))
    low, high = (np.asarray(end) for end in proportion_confint(p * items, items, alpha=alpha, method="wilson"))
    reach = norm.ppf(1 - alpha / 2) * np.where(known, given, np.nan)
    return table.assign(
        low=np.where(share, low, value - reach),
        high=np.where(share, high, value + reach),
        interval=np.select([share, known & np.isfinite(value)], ["wilson", "normal"], ""),
    )


def standard_errors(value: Floats, stderr: Floats, n: Floats) -> Floats:
    """Standard errors over items: the given, else for a proportion the plus-four one (Agresti & Coull 1998), else NaN.

    A given one of 0, as for an accuracy of exactly 0 or 1, says nothing and counts as missing.
    """
    proportion = (value >= 0) & (value <= 1) & (n > 0)
    items = np.where(proportion, n, 1.0) + 4
    p = (np.where(proportion, value * n, 0.0) + 2) / items
    return np.where(stderr > 0, stderr, np.where(proportion, np.sqrt(p * (1 - p) / items), np.nan))
