"""The results of a checkpoint that are compared: one metric, the latest of each task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from evalrun.commands.compare.selection import ComparedCheckpoint
from evalrun.core.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd


def of_metric(table: pd.DataFrame, metric: str | None) -> pd.DataFrame:
    """The rows of one metric; of each task's primary one where none is named.

    Raises:
        ConfigError: no task has it; with the nearest.
    """
    if metric is None:
        return table[table["primary"]]
    if metric not in set(table["metric"]):
        from evalrun.statistics.table import nearest_metrics

        raise ConfigError(f"no task has the metric '{metric}': {nearest_metrics(metric, table)}")
    return table[table["metric"] == metric]


def latest_rows(table: pd.DataFrame, side: ComparedCheckpoint, tasks: Sequence[str] | None) -> pd.DataFrame:
    """One row a task: the latest result of it."""
    rows = table[table["run_id"].isin([run.run_id for run in side.runs])]
    if tasks is not None:
        rows = rows[rows["task"].isin(tasks)]
    latest = rows.sort_values("finished_ms", kind="stable").drop_duplicates("task", keep="last")
    return latest.sort_values(["title", "task"], ignore_index=True)


def fewshot_of(rows: pd.DataFrame, side: ComparedCheckpoint) -> dict[str, int | None]:
    """Task -> how many examples stood before its items; None where the run does not say."""
    held = {run.run_id: run.entries for run in side.runs}
    return {task: held[run_id][task].fewshot for run_id, task in zip(rows["run_id"], rows["task"], strict=True)}
