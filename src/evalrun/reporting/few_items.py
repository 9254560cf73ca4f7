"""Tasks of a handful of items: what moves in them is no headline while others move, and is said with its items."""

from __future__ import annotations

import pandas as pd

from evalrun.core.text import counted

FEW = 20  # with 19 items an accuracy of one half has a standard error of 0.11, and one item moves it by 0.05


def few_items(table: pd.DataFrame) -> dict[str, int]:
    """The tasks of which no result rests on more than a handful of items, with their number.

    Args:
        table: Rows with `task` and `n`; a task whose items nobody counted is none of these.
    """
    most = table.groupby("task", sort=False)["n"].max()
    return {str(task): int(count) for task, count in most[(most > 0) & (most < FEW)].items()}


def on_few(task: str, few: dict[str, int]) -> str:
    """`, on 4 items alone` for such a task, to end a clause; nothing for others."""
    return f", on {counted(few[task], 'item')} alone" if task in few else ""
