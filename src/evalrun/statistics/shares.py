"""Which values may be shares, such as accuracies: bits per byte below 1 are none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from evalrun.core.ratios import ratio_of

Flags = np.ndarray[Any, np.dtype[np.bool_]]
Floats = np.ndarray[Any, np.dtype[np.float64]]


def may_be_shares(rows: pd.DataFrame) -> Flags:
    """(rows,) whether a value lies between 0 and 1 and its metric, where it is named, is no ratio of sums."""
    return rows["value"].astype("float64").between(0, 1).to_numpy(dtype=bool) & ~is_ratio(rows)


def is_ratio(rows: pd.DataFrame) -> Flags:
    """(rows,) whether the metric is a ratio of sums over items; of rows that do not name theirs, none."""
    if "metric" not in rows:
        return np.zeros(len(rows), dtype=bool)
    names = {metric: ratio_of(str(metric)) is not None for metric in rows["metric"].unique()}
    return rows["metric"].map(names).to_numpy(dtype=bool)


def counted_items(rows: pd.DataFrame) -> Floats:
    """(rows,) the items that a share is of; NaN where the value is no share of any."""
    n = rows["n"].to_numpy(dtype="float64", na_value=np.nan)
    return np.where(may_be_shares(rows), n, np.nan)
