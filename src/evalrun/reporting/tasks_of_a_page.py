"""Which of many tasks are shown first: as many as a page has room for, those whose values differ most."""

from __future__ import annotations

import pandas as pd

PAGE_OF_TASKS = 24  # that a page has room for


def tasks_of_a_page(table: pd.DataFrame) -> list[str]:
    """The tasks to be shown, those whose values differ most before the others; all where there is room.

    Args:
        table: Rows of `Prepared.table`.
    """
    values = table.groupby("task", sort=False)["value"]
    spread = (values.max() - values.min()).sort_values(ascending=False, kind="stable")
    return [str(task) for task in spread.index[:PAGE_OF_TASKS]]
