"""Compare two groups of training runs on every task that they share, over the whole of training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from evalrun.core.errors import AnalysisError
from evalrun.core.stages import stage
from evalrun.core.text import counted, listed
from evalrun.statistics.items.clusters import Clusters
from evalrun.statistics.items.values import Items
from evalrun.statistics.naming import run_name
from evalrun.statistics.training_runs.run_curves import (
    AXES,
    RUN,
    RunCurve,
    TaskCurves,
    left_out,
    matched_curves,
    run_curves,
)
from evalrun.statistics.training_runs.run_differences import Bands, BandSettings, bands_of
from evalrun.statistics.training_runs.run_tables import look_rows, point_rows, task_rows

__all__ = ["BandSettings", "RunComparison", "compare_runs"]


@dataclass(frozen=True)
class RunComparison:
    """Two groups of runs compared."""

    bands: Bands
    tasks: pd.DataFrame  # `run_tables.task_rows`
    points: pd.DataFrame  # `run_tables.point_rows`
    looks: pd.DataFrame  # `run_tables.look_rows`
    notes: list[str]  # what was left out, and what is doubtful
    at: str  # tokens, flops or loss: what is matched


@stage("runs against runs")
def compare_runs(
    first: pd.DataFrame,
    second: pd.DataFrame,
    others: Sequence[pd.DataFrame] = (),
    at: str = "tokens",
    items: Items | None = None,
    settings: BandSettings | None = None,
    clusters: Clusters | None = None,
) -> RunComparison:
    """Compare B with A: every task that both have, at points of training that all their runs passed.

    Args:
        first: Rows of `Prepared.table` of A: one run, or several seeds of a recipe (told by suite, model and seed).
        second: The same of B.
        others: The same of further recipes with several seeds each, which tell how far seeds differ.
        at: tokens, flops or loss (a column `loss`): where points of two runs are one.
        items: Gives per-item results; None where there are none.
        settings: Level and draws, and what is assumed of seeds where none are known; None for the defaults.
        clusters: Gives the clusters of a task's items; None for items that were drawn one by one.

    Raises:
        AnalysisError: no task in common, a run with one checkpoint, or no two points of training that all passed.
    """
    settings = settings or BandSettings()
    notes: list[str] = []
    there = set(second["task"])
    tasks = [str(task) for task in first["task"].unique() if task in there]
    if not tasks:
        raise AnalysisError("the runs have no task in common: evaluate both on the same tasks first.")
    found = []
    for task in tasks:
        groups = [run_curves(rows[rows["task"] == task], at, items, notes) for rows in (first, second)]
        told = [run_curves(rows[rows["task"] == task], at, None, []) for rows in others]
        if all(groups):
            found.append(matched_curves(groups[0], groups[1], told, clusters, at))
            notes += _lacking(task, groups, (first, second))
    usable = [one for one in found if len(one.axis) > 1]
    if not usable:
        raise AnalysisError(_nothing(first, second, found, at))
    notes += left_out(found)
    most = [max(len(values) for values in side) for side in zip(*((o.first, o.second) for o in usable), strict=True)]
    whole = [one for one in usable if [len(one.first), len(one.second)] == most]
    notes += [f"{one.task}: left out, because only some of the runs have it." for one in usable if one not in whole]
    notes += _between(whole)
    bands = bands_of(whole, settings)
    points = point_rows(bands)
    return RunComparison(bands, task_rows(bands, points), points, look_rows(points), notes, at)


def _lacking(task: str, groups: Sequence[Sequence[RunCurve]], sides: Sequence[pd.DataFrame]) -> list[str]:
    """Which runs of a group lack a task, a sentence each."""
    told = []
    for curves, rows in zip(groups, sides, strict=True):
        have = {run_name(curve.rows.iloc[0]) for curve in curves}
        every = {run_name(row) for row in rows.drop_duplicates(RUN).to_dict("records")}
        if every - have:
            told.append(f"{task}: no results of {listed(sorted(every - have), 4)}.")
    return told


def _nothing(first: pd.DataFrame, second: pd.DataFrame, found: Sequence[TaskCurves], at: str) -> str:
    """Why no task is left: the sentence of the error."""
    whys = dict.fromkeys(one.note for one in found if one.note and not len(one.axis))
    if whys:
        return f"the runs cannot be compared: {'; '.join(whys)}."
    for rows in (first, second):
        for _, own in rows.groupby(RUN, sort=False, dropna=False):
            steps = sorted(own["step"].unique())
            if len(steps) == 1:
                name = run_name(own.iloc[0])
                return (
                    f"{name} has results of one checkpoint alone (step {steps[0]:.0f}): evaluate more of it, or "
                    f"compare checkpoints, as in {name}@{steps[0]:.0f}."
                )
    spans = [_span(rows, AXES[at]) for rows in (first, second)]
    return (
        f"the runs have no two points of training in common: by {at} A goes from {spans[0]} and B from {spans[1]}; "
        "evaluate checkpoints of a range that both have."
    )


def _span(rows: pd.DataFrame, column: str) -> str:
    values = rows.loc[rows[column] > 0, column]
    return f"{values.min():.4g} to {values.max():.4g}" if len(values) else "nothing"


def _between(tasks: Sequence[TaskCurves]) -> list[str]:
    """A sentence about points that are interpolated."""
    most = max(tasks, key=lambda one: int(one.is_between.sum()))
    count = int(most.is_between.sum())
    if not count:
        return []
    return [
        f"At {count} of {counted(len(most.axis), 'point')} not every run has a checkpoint: its values there are "
        "interpolated between the two around it."
    ]
