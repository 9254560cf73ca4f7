"""Rows of a table by what they are about, as plain mappings: for words and cells, where a frame a group costs most."""

from __future__ import annotations

from typing import Any

import pandas as pd

Row = dict[Any, Any]


def row_groups(frame: pd.DataFrame, *by: str) -> dict[Any, list[Row]]:
    """Key -> its rows, keys and rows in order of the frame.

    Args:
        frame: Any table.
        by: Columns that make the key: the value of one, the tuple of several. A row with NaN there is alone.
    """
    rows: list[Row] = frame.to_dict("records")
    keys = frame[by[0]].tolist() if len(by) == 1 else zip(*(frame[name].tolist() for name in by), strict=True)
    groups: dict[Any, list[Row]] = {}
    for key, row in zip(keys, rows, strict=True):
        groups.setdefault(key, []).append(row)
    return groups
