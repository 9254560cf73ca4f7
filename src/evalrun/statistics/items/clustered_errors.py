"""The standard error of every result with its items clustered, beside the plain one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from evalrun.core.stages import stage
from evalrun.statistics.items.clusters import Clusters, clustered_means, clusters_of_items, t_test
from evalrun.statistics.items.values import Items, align, columns_of, item_values

COLUMNS = [
    *("task", "title", "model", "seed", "step", "metric", "value", "stderr", "clustered_stderr", "df", "low", "high"),
    *("n", "clusters", "note"),
]


@stage("items")
def clustered_errors(table: pd.DataFrame, items: Items | None, clusters: Clusters | None, alpha: float) -> pd.DataFrame:
    """Errors of means over items, clustered.

    Args:
        table: Rows of `Prepared.table`.
        items: Gives per-item results; None for an empty table.
        clusters: Gives the clusters of a task's items; None for an empty table.
        alpha: The intervals are of 1 - alpha.

    Returns:
        One row a result, with the columns of `COLUMNS`, in the metric's units; numbers are NaN where the items allow no
        clustered error, and the note says why.
    """
    if items is None or clusters is None:
        return pd.DataFrame(columns=COLUMNS)
    rows = [{**row, **_of_result(row, items, clusters, alpha)} for row in table.to_dict("records")]
    return pd.DataFrame(rows, columns=COLUMNS)


def _of_result(row: dict[Any, Any], items: Items, clusters: Clusters, alpha: float) -> dict[str, Any]:
    """What the items of one result give; the arguments are those of `clustered_errors`."""
    metric, task = str(row["metric"]), str(row["task"])
    values = item_values(items(str(row["run_id"]), task, columns_of(metric)), metric)
    if values is None:
        return {"note": "no per-item results"}
    if not values.average_to(float(row["value"])):
        return {"note": f"'{metric}' is not the mean over items"}
    aligned = align([values])
    codes, why = clusters_of_items(clusters(task), aligned.keys) if aligned.keys is not None else (None, aligned.note)
    if codes is None:
        return {"note": why}
    found = clustered_means(aligned.values, codes, aligned.weights)
    mean, variance = float(found.mean[0]), float(found.variance[0])
    _, low, high = t_test(mean, variance, found.df, alpha)
    error = float(np.sqrt(variance))
    return {"clustered_stderr": error, "df": found.df, "low": low, "high": high, "clusters": found.clusters, "note": ""}
