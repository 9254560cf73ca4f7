"""The curves of two groups of runs on one task, at points that all runs passed, item by item where they are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from evalrun.core.text import listed
from evalrun.statistics.items.believed import doubt
from evalrun.statistics.items.clusters import Clusters, Codes, clusters_of_items
from evalrun.statistics.items.continuous import COLUMNS as ITEM_COLUMNS
from evalrun.statistics.items.values import Floats, Items, ItemValues, align, columns_of, item_values
from evalrun.statistics.naming import checkpoint_name
from evalrun.statistics.reliability.intervals import standard_errors
from evalrun.statistics.shares import counted_items, may_be_shares
from evalrun.statistics.training_runs.matched_points import OnPoints, Whole, common_points, on_points

RUN = ["suite", "model", "seed"]  # the columns that tell runs apart
AXES = {"tokens": "tokens", "flops": "flops", "loss": "loss"}  # at= -> column
PER_TOKEN = ("nats_per_token",)  # metrics that a tokenizer is part of


@dataclass(frozen=True)
class RunCurve:
    """One run on one task."""

    rows: pd.DataFrame  # of the tidy table, in order of the axis
    axis: Floats  # (checkpoints,) rising: log10 of tokens or FLOPs, or of one over the loss
    items: tuple[ItemValues | None, ...]  # a checkpoint each


@dataclass(frozen=True)
class TaskCurves:
    """Two groups of runs on one task; where they cannot be compared there are no points, and the note says why."""

    task: str
    title: str
    metric: str
    higher: bool  # is better
    is_share: bool  # between 0 and 1, such as an accuracy
    axis: Floats  # (points,) rising, as `RunCurve.axis`
    x: Floats  # (points,) the same in tokens, FLOPs or units of the loss
    first: Floats  # (runs, points) the metric of the runs of A
    second: Floats  # (runs, points) of B
    others: tuple[Floats, ...]  # of recipes that tell of seeds: (runs, points), NaN where a run does not reach
    steps: tuple[Floats, Floats]  # (points,) training steps of the first run of each
    tokens: Floats  # (points,) of the first run of A
    is_between: np.ndarray[Any, np.dtype[np.bool_]]  # (points,) whether any value is interpolated
    errors: Floats  # (points,) standard errors over items of the difference, as if items were others for A and B; NaN
    differences: Floats | None = None  # (items, points) B - A on each item, means over runs
    ends: Floats | None = None  # (items, 2) of A and B at the last point
    codes: Codes | None = None  # (items,) clusters
    clustered: str = ""  # the column that they are of
    note: str = ""


def run_curves(rows: pd.DataFrame, at: str, items: Items | None, notes: list[str]) -> list[RunCurve]:
    """The runs of a group on one task, each in order of the axis.

    Args:
        rows: Of `Prepared.table`, of one task and group; with `loss` where the axis is one.
        at: A key of `AXES`.
        items: Gives per-item results; None without them.
        notes: Gets checkpoints that are left out, and why.
    """
    found = []
    for _, own in rows.groupby(RUN, sort=False, dropna=False):
        own = own[own[AXES[at]] > 0].sort_values("step", kind="stable")
        if at == "loss":
            # The first checkpoint with a loss is the one that passes it: where the loss rises again nothing is new.
            lowest = own["loss"].cummin()
            is_new = (own["loss"] == lowest) & (lowest.diff().fillna(-1.0) < 0)
            if not is_new.all():
                whose = checkpoint_name({**own.iloc[0].to_dict(), "step": np.nan})
                notes.append(
                    f"{whose}: {int((~is_new).sum())} of {len(own)} checkpoints passed over: no new least loss."
                )
            own = own[is_new]
        read, kept = [], []
        for place, row in enumerate(own.to_dict("records")):
            values, why = _items_of(row, items)
            if why:
                notes.append(f"{checkpoint_name(row)}, {row['task']}: left out, because {why}.")
                continue
            read.append(values)
            kept.append(place)
        if kept:
            own = own.iloc[kept]
            axis = np.log10(own[AXES[at]].to_numpy(dtype="float64"))
            found.append(RunCurve(own, -axis if at == "loss" else axis, tuple(read)))
    return found


def _items_of(row: dict[Any, Any], items: Items | None) -> tuple[ItemValues | None, str]:
    """The values of a result's items, None where they do not make up its value; and why it must not be looked at."""
    if items is None:
        return None, ""
    metric = str(row["metric"])
    wanted = list(dict.fromkeys([*columns_of(metric), *ITEM_COLUMNS]))
    found = items(str(row["run_id"]), str(row["task"]), wanted)
    if found is None:
        return None, ""
    if why := doubt(found).why:
        return None, why
    values = item_values(found, metric)
    return (values if values is not None and values.average_to(float(row["value"])) else None), ""


def matched_curves(
    first: Sequence[RunCurve],
    second: Sequence[RunCurve],
    others: Sequence[Sequence[RunCurve]],
    clusters: Clusters | None,
    at: str,
) -> TaskCurves:
    """Bring the runs of two groups to the points that all of them passed.

    Args:
        first: Runs of A on a task.
        second: Runs of B on it.
        others: Runs of other recipes on it, which tell how far seeds differ.
        clusters: Gives the clusters of a task's items; None for items that were drawn one by one.
        at: A key of `AXES`.
    """
    both = [*first, *second]
    row = first[0].rows.iloc[0]
    points = common_points([one.axis for one in both])
    places = [on_points(one.axis, points) for one in both]
    values = [place.of(one.rows["value"].to_numpy(dtype="float64")) for place, one in zip(places, both, strict=True)]
    steps = [place.of(one.rows["step"].to_numpy(dtype="float64")) for place, one in zip(places, both, strict=True)]
    held = [
        np.array([on_points(one.axis, points).of(one.rows["value"].to_numpy(dtype="float64")) for one in group])
        for group in others
        if len(group) > 1
    ]
    count = len(first)
    base = TaskCurves(
        task=str(row["task"]),
        title=str(row["title"]),
        metric=str(row["metric"]),
        higher=bool(row["higher_is_better"]),
        is_share=all(bool(may_be_shares(one.rows).all()) for one in both),
        axis=points,
        x=10.0 ** (-points if at == "loss" else points),
        first=np.array(values[:count]),
        second=np.array(values[count:]),
        others=tuple(held),
        steps=(steps[0], steps[count]),
        tokens=places[0].of(first[0].rows["tokens"].to_numpy(dtype="float64")),
        is_between=np.any([place.is_between for place in places], axis=0),
        errors=_errors(both, places, count),
    )
    return base if len(points) < 2 else _with_items(base, both, places, count, clusters)


def _errors(runs: Sequence[RunCurve], places: Sequence[OnPoints], count: int) -> Floats:
    """(points,) standard errors of the difference from those of the results, as if each had items of its own."""
    squares = []
    for run, place in zip(runs, places, strict=True):
        value, stderr = (run.rows[name].to_numpy(dtype="float64") for name in ("value", "stderr"))
        error = standard_errors(value, stderr, counted_items(run.rows))
        squares.append(np.maximum(error[place.below], error[place.above]) ** 2)
    # Runs of a group answer the same items: their errors do not average out.
    return np.asarray(np.sqrt(np.mean(squares[:count], axis=0) + np.mean(squares[count:], axis=0)))


def _with_items(
    base: TaskCurves, runs: Sequence[RunCurve], places: Sequence[OnPoints], count: int, clusters: Clusters | None
) -> TaskCurves:
    """The curves with the difference on each item; without it, and a note, where items do not allow that."""
    points_none = base.axis[:0]
    needed = [sorted({*place.below.tolist(), *place.above.tolist()}) for place in places]
    sheets = [run.items[number] for run, own in zip(runs, needed, strict=True) for number in own]
    if any(sheet is None for sheet in sheets):
        return replace(base, note="no per-item results: by standard errors, conservative")
    known = [sheet for sheet in sheets if sheet is not None]
    if base.metric.startswith(PER_TOKEN) and _denominators_differ(known):
        return replace(
            base, axis=points_none, note=f"{base.metric} counts tokens, and the runs have different tokenizers"
        )
    aligned = align(known)
    if not len(aligned.values):
        return replace(base, axis=points_none, note=aligned.note)
    sides: list[list[Floats]] = [[], []]
    begin = 0
    for number, (own, place) in enumerate(zip(needed, places, strict=True)):
        columns = aligned.values[:, begin : begin + len(own)]
        begin += len(own)
        sides[number >= count].append(_renumbered(place, own).of(columns))
    a, b = (np.mean(side, axis=0) for side in sides)
    codes, column, why = None, "", ""
    if clusters is not None:
        known_clusters = clusters(base.task)
        column = known_clusters.column
        codes, why = clusters_of_items(known_clusters, aligned.keys if aligned.keys is not None else pd.DataFrame())
    return replace(
        base,
        first=np.array([side.mean(axis=0) for side in sides[0]]),
        second=np.array([side.mean(axis=0) for side in sides[1]]),
        differences=b - a,
        ends=np.column_stack([a[:, -1], b[:, -1]]),
        codes=codes,
        clustered=column if codes is not None else "",
        note="; ".join(part for part in (aligned.note, why) if part),
    )


def _renumbered(place: OnPoints, own: Sequence[int]) -> OnPoints:
    """Places among all checkpoints as places among those that are needed."""
    order: Whole = np.searchsorted(own, np.stack([place.below, place.above]))
    return OnPoints(order[0], order[1], place.share)


def _denominators_differ(sheets: Sequence[ItemValues]) -> bool:
    """Whether results count different numbers of tokens on some item."""
    first = sheets[0]
    for other in sheets[1:]:
        if first.sums is None or other.sums is None or len(first.values) != len(other.values):
            continue
        if not np.array_equal(first.sums.denominator, other.sums.denominator):
            return True
    return False


def left_out(tasks: Sequence[TaskCurves]) -> list[str]:
    """A sentence for each reason why tasks cannot be compared."""
    reasons: dict[str, list[str]] = {}
    for one in tasks:
        if len(one.axis) < 2:
            why = one.note or ("one common point" if len(one.axis) == 1 else "no common point of training")
            reasons.setdefault(why, []).append(one.task)
    return [f"{listed(names, 6)}: left out, {why}." for why, names in reasons.items()]
