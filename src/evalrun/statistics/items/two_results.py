"""Results of one task side by side: their metric on the items that all have, or what is left where there are none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evalrun.core.ratios import ratio_of
from evalrun.statistics.items.believed import doubt
from evalrun.statistics.items.continuous import COLUMNS as ITEM_COLUMNS
from evalrun.statistics.items.values import Aligned, Items, align, columns_of, item_values
from evalrun.statistics.reliability.intervals import standard_errors
from evalrun.statistics.table import checkpoint_name


def common_items(rows: Sequence[Mapping[Any, Any]], items: Items | None) -> Aligned | str:
    """The values of some results' metric on the items that all of them have.

    Args:
        rows: Of the tidy table, of one task: one or more.
        items: Reads the items of a run and task; None without them.

    Returns:
        The items; none of them, and a note, where the results must not be compared. Or why they do not tell the metric,
        so that nothing is left but the standard errors.
    """
    metrics = list(dict.fromkeys(str(row["metric"]) for row in rows))
    if len(metrics) > 1:
        return _nothing(f"the primary metrics differ: {' and '.join(metrics)}")
    if items is None:
        return "no per-item results"
    (metric,) = metrics
    sides = []
    for row in rows:
        wanted = list(dict.fromkeys([*columns_of(metric), *ITEM_COLUMNS]))
        found = items(str(row["run_id"]), str(row["task"]), wanted)
        if found is not None and (why := doubt(found).why):
            return _nothing(f"{checkpoint_name(row)} is left out, because {why}")
        values = item_values(found, metric)
        if values is None:
            return "no per-item results" if found is None else f"no value of '{metric}' for each item"
        if not values.average_to(float(row["value"])):
            return f"'{metric}' is not the mean over items"
        sides.append(values)
    return align(sides)


def unpaired_error(row: Mapping[Any, Any], other: Mapping[Any, Any]) -> float:
    """The standard error of the difference of two results as if their items were independent; NaN without errors."""
    value, stderr, n = (np.array([row[name], other[name]], dtype="float64") for name in ("value", "stderr", "n"))
    items = np.nan * n if ratio_of(str(row["metric"])) else n
    return float(np.sqrt(np.sum(standard_errors(value, stderr, items) ** 2)))


def _nothing(why: str) -> Aligned:
    return Aligned(np.empty((0, 2)), why)
