"""The continuous metrics of every result of a table, from its items."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pandas as pd

from evalrun.analysis.items.continuous import COLUMNS as ITEM_COLUMNS
from evalrun.analysis.items.continuous import continuous
from evalrun.analysis.items.values import Items

COLUMNS = ["task", "model", "seed", "step", "metric", "value", "stderr"]


def continuous_table(table: pd.DataFrame, items: Items | None) -> tuple[pd.DataFrame, list[str]]:
    """Measure what the items allow.

    Args:
        table: Rows of `Prepared.table`.
        items: Gives per-item results; None for an empty table.

    Returns:
        One row for each result and metric of `continuous.METRICS` that could be measured, with the columns of
        `COLUMNS`; and a sentence for each reason why a task has none.
    """
    found: list[dict[str, Any]] = []
    without: dict[str, dict[str, None]] = defaultdict(dict)  # why -> titles
    if items is None:
        return pd.DataFrame(columns=COLUMNS), []
    for row in table[["task", "title", "model", "seed", "step", "run_id"]].to_dict("records"):
        frame = items(str(row["run_id"]), str(row["task"]), ITEM_COLUMNS)
        if frame is None:
            without["no items are in the store"][str(row["title"])] = None
            continue
        measured = continuous(frame)
        if measured.n == 0:
            without[measured.note][str(row["title"])] = None
        about = {name: row[name] for name in ("task", "model", "seed", "step")}
        found += [
            {**about, "metric": name, "value": value, "stderr": stderr}
            for name, (value, stderr) in measured.metrics.items()
            if value == value
        ]
    tasks = table["title"].nunique()
    notes = [
        f"No continuous metrics of {'any task' if len(titles) == tasks > 1 else ', '.join(titles)}: {why}."
        for why, titles in without.items()
    ]
    return pd.DataFrame(found, columns=COLUMNS), notes
