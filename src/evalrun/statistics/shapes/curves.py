"""A table cut into curves: one task's values of a model over training, or of the models at one step over size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from evalrun.statistics.items.clusters import Clusters
from evalrun.statistics.items.pair_tests import PairTests, pair_tests
from evalrun.statistics.items.values import Items
from evalrun.statistics.shapes.moves import Curves
from evalrun.statistics.shapes.noise import Array, Noise, measure_noise

Places = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class CurveSet:
    """Curves one after another, the points of each in order of its axis."""

    rows: pd.DataFrame  # a row a point
    x: Array  # (rows,) log10 of the axis
    begin: Places  # (curves,) position of a curve's first row
    length: Places  # (curves,) its points
    noise: Noise  # of the rows
    pairs: tuple[PairTests, ...] = ()  # of each curve, on the same items; () without items

    def batches(self) -> Iterator[tuple[Places, Places]]:
        """Curves of equally many points: which curves, and (curves, points) positions of their rows."""
        for points in np.unique(self.length):
            which = np.flatnonzero(self.length == points)
            yield which, self.begin[which][:, None] + np.arange(points)

    def arrays(self, which: Places, at: Places, margin: Array) -> Curves:
        """Some curves of equally many points, as plain arrays.

        Args:
            which: Their places among the curves.
            at: (curves, points) positions of their rows.
            margin: (rows,) `smallest_changes` of the curves' rows.
        """
        first, noise = at[:, 0], self.noise
        plain = Curves(self.x[at], self.up[at], noise.items[at], noise.training[at], noise.df[first], margin[first])
        own = [self.pairs[place] for place in which] if self.pairs else []
        if not any(tests.known for tests in own):
            return plain
        k = at.shape[1]
        earlier, later = np.triu_indices(k, 1)
        variance, p = plain.pair_item_variance.copy(), np.zeros((len(which), k, k))
        for place, tests in enumerate(own):
            if tests.known:
                variance[place, earlier, later], p[place, earlier, later] = tests.variance, tests.p
        return replace(plain, pair_items=variance, pair_p=p)

    @cached_property
    def up(self) -> Array:
        """(rows,) values, turned round where lower is better."""
        better = self.rows["higher_is_better"].to_numpy(dtype=bool)
        return np.asarray(np.where(better, 1.0, -1.0) * self.rows["value"].to_numpy(dtype="float64"))


def over_training(table: pd.DataFrame, axis: str = "tokens") -> CurveSet:
    """One curve for each task, model and seed.

    Args:
        table: Rows of `Prepared.table`: one for each task, model, seed and step.
        axis: Column of the axis: tokens or flops.

    Returns:
        The curves, in order of the table.
    """
    return _cut(table, ["task", "model", "seed"], axis)


def on_the_same_items(curves: CurveSet, items: Items, clusters: Clusters | None = None) -> CurveSet:
    """The curves with the tests of their pairs of checkpoints on the items that all of a curve answered.

    The values of a curve whose checkpoints have not all answered the same items become those over the common ones.

    Args:
        curves: Curves over training.
        items: Gives per-item results.
        clusters: Gives the clusters of a task's items; None for items that were drawn one by one.
    """
    rows, tests = curves.rows, []
    value, paired = rows["value"].to_numpy(dtype="float64", copy=True), np.full(len(rows), np.nan)
    asked = rows[["task", "metric", "value", "run_id"]]  # to cut all columns for each curve takes longer than its tests
    for begin, length in zip(curves.begin, curves.length, strict=True):
        own = slice(int(begin), int(begin + length))
        found = pair_tests(asked.iloc[own], items, clusters)
        tests.append(found)
        if found.known:
            value[own], paired[own] = found.value, found.of_point
    curve = np.repeat(np.arange(len(curves.length)), curves.length)
    rows = rows.assign(value=value)
    return replace(curves, rows=rows, noise=measure_noise(rows, curve, curves.x, paired), pairs=tuple(tests))


def over_size(table: pd.DataFrame, size: str) -> CurveSet:
    """One curve for each task and step, one point for each model size.

    Seeds, and models of equal size, are averaged. The standard error of the mean is the mean of theirs: they answer
    the same items, so averaging does not take item sampling error away.

    Args:
        table: Rows of `Prepared.table`.
        size: Column of the axis, a parameter count; rows without one are left out.

    Returns:
        The curves, by task in order of the table, then by step.
    """
    known = table[table[size] > 0]
    models = known.drop_duplicates([size, "model"]).groupby(size)["model"].agg(" / ".join)
    kept = [name for name in ("title", "cause", "role", "tokens", "n", "higher_is_better") if name in known.columns]
    how = dict.fromkeys(kept, "first") | {"value": "mean", "stderr": "mean"}
    points = known.groupby(["task", "step", size], sort=False, as_index=False).agg(how)
    points["model"] = points[size].map(models)
    order = {task: place for place, task in enumerate(table["task"].unique())}
    points = points.assign(_task=points["task"].map(order)).sort_values(["_task", "step"], kind="stable")
    return _cut(points.drop(columns="_task"), ["task", "step"], size, repeats=True)


def _cut(table: pd.DataFrame, by: list[str], axis: str, repeats: bool = False) -> CurveSet:
    curve = table.groupby(by, dropna=False, sort=False).ngroup().to_numpy()
    values = table[axis].to_numpy(dtype="float64")
    order = np.lexsort((values, curve))
    rows, curve, x = table.iloc[order].reset_index(drop=True), curve[order], np.log10(values[order])
    begin = np.flatnonzero(np.diff(curve, prepend=-1))
    length = np.diff(begin, append=len(rows))
    return CurveSet(rows, x, begin, length, measure_noise(rows, curve, x, repeats=repeats))
