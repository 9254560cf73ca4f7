"""How far a result may have changed, or how large it may be, with an error rate for each end of the interval.

A gate makes two claims, each with its own error: that a task has not fallen by more than a margin (non-inferiority: the
low end of the change lies above minus the margin), and that it has (the high end lies below). So the ends have levels
of their own.

- Metrics that are 0 or 1 on each item: the score interval of paired proportions (`score_interval`); of one result
  Clopper and Pearson's.
- Other metrics, ratios of sums, and items in clusters: t, of the items' differences, with errors clustered
  (`clusters`), so that no end depends on draws.
- Without items: z from the standard errors, as if the items were independent: conservative for a change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtri
from statsmodels.stats.proportion import proportion_confint

from evalrun.core.ratios import ratio_of
from evalrun.statistics.items.clusters import TaskClusters, clustered_means, clusters_of_items, t_test
from evalrun.statistics.items.score_interval import METHOD as SCORE
from evalrun.statistics.items.score_interval import score_interval
from evalrun.statistics.items.two_results import common_items, unpaired_error
from evalrun.statistics.items.values import Aligned, Floats, Items
from evalrun.statistics.reliability.intervals import standard_errors

T_INTERVAL, Z_INTERVAL, EXACT = "t interval over items", "z interval from standard errors", "Clopper-Pearson interval"
_NOTHING = 1e-12


@dataclass(frozen=True)
class Bounds:
    """A change between two results on the same items, or one result; NaN where nothing is known: see the note."""

    n: int = 0  # items
    before: float = np.nan  # NaN of one result
    after: float = np.nan
    estimate: float = np.nan  # after - before; of one result its value
    low: float = np.nan
    high: float = np.nan
    fell: float = np.nan  # items whose value is lower after; NaN without items
    rose: float = np.nan
    error: float = np.nan  # standard error of the estimate
    is_share: bool = False  # each item is 0 or 1, and counts alone
    method: str = ""
    note: str = ""


def change_bounds(
    row: Mapping[Any, Any],
    other: Mapping[Any, Any],
    items: Items | None,
    clusters: TaskClusters | None,
    low_level: float,
    high_level: float,
) -> Bounds:
    """The interval of the change of one task from a result to another, other - row.

    Args:
        row: The first, a row of the tidy table.
        other: The second.
        items: Reads the items of a run and task; None without them.
        clusters: Of the task's items; None for items that were drawn one by one.
        low_level: Probability, at most, that the change lies below the low end.
        high_level: The same of the high end.
    """
    aligned = common_items([row, other], items)
    if isinstance(aligned, str):
        values = float(row["value"]), float(other["value"])
        error, n = unpaired_error(row, other), int(np.nan_to_num([row["n"], other["n"]]).min())
        return _by_error(values[0], values[1], values[1] - values[0], error, n, aligned, low_level, high_level)
    if not len(aligned.values):
        return Bounds(note=aligned.note)
    x, y = aligned.values.T
    of_item = aligned.each[:, 1] - aligned.each[:, 0]
    fell, rose, n = int((of_item < 0).sum()), int((of_item > 0).sum()), len(x)
    about: dict[str, Any] = {"n": n, "before": float(x.mean()), "after": float(y.mean()), "fell": fell, "rose": rose}
    about["estimate"] = about["after"] - about["before"]
    codes, note = _codes(aligned, clusters)
    notes = [aligned.note, note, "" if fell or rose else "no item changed"]
    if codes is None and aligned.weights is None and np.isin(aligned.values, (0.0, 1.0)).all():
        low, high = score_interval(fell, rose, n, low_level, high_level)
        error = float(np.sqrt(max((fell + rose) / n - about["estimate"] ** 2, 0.0) / n))
        return Bounds(**about, low=low, high=high, error=error, is_share=True, method=SCORE, note=_joined(notes))
    if not (fell or rose):
        return Bounds(**about, low=0.0, high=0.0, error=0.0, method=T_INTERVAL, note=_joined(notes))
    found = _by_t(aligned, codes, about["estimate"], y - x, low_level, high_level)
    return Bounds(
        **about,
        low=found.low,
        high=found.high,
        error=found.error,
        method=found.method,
        note=_joined([*notes, found.note]),
    )


def value_bounds(
    row: Mapping[Any, Any], items: Items | None, clusters: TaskClusters | None, low_level: float, high_level: float
) -> Bounds:
    """The interval of one result.

    Args:
        row: Of the tidy table.
        items: Reads the items of a run and task; None without them.
        clusters: Of the task's items; None for items that were drawn one by one.
        low_level: Probability, at most, that the metric lies below the low end.
        high_level: The same of the high end.
    """
    aligned = common_items([row], items)
    if isinstance(aligned, str):
        value, stderr, n = (np.array([row[name]], dtype="float64") for name in ("value", "stderr", "n"))
        error = float(standard_errors(value, stderr, np.nan * n if ratio_of(str(row["metric"])) else n)[0])
        own = float(row["value"])
        return _by_error(np.nan, own, own, error, int(np.nan_to_num(n)[0]), aligned, low_level, high_level)
    if not len(aligned.values):
        return Bounds(note=aligned.note)
    values = aligned.values[:, 0]
    codes, note = _codes(aligned, clusters)
    about: dict[str, Any] = {"n": len(values), "after": float(values.mean()), "estimate": float(values.mean())}
    if codes is None and aligned.weights is None and np.isin(values, (0.0, 1.0)).all():
        right = int(values.sum())
        low, high = (
            float(proportion_confint(right, len(values), 2 * level, method="beta")[end])
            for end, level in ((0, low_level), (1, high_level))
        )
        error = float(values.std() / np.sqrt(len(values)))
        return Bounds(**about, low=low, high=high, error=error, is_share=True, method=EXACT, note=note)
    found = _by_t(aligned, codes, about["estimate"], values, low_level, high_level)
    return Bounds(
        **about,
        low=found.low,
        high=found.high,
        error=found.error,
        method=found.method,
        note=_joined([note, found.note]),
    )


@dataclass(frozen=True)
class _ByT:
    """An interval by t."""

    method: str
    low: float = np.nan
    high: float = np.nan
    error: float = np.nan
    note: str = ""


def _by_t(aligned: Aligned, codes: Any, estimate: float, spread: Floats, low_level: float, high_level: float) -> _ByT:
    """The t interval of the last result's mean, less the first's where there are two.

    Args:
        aligned: The items.
        codes: Their clusters; None for none.
        estimate: In the middle.
        spread: (items,) what the estimate is the mean of.
        low_level: Of the low end.
        high_level: Of the high end.
    """
    if len(aligned.values) < 2:
        return _ByT(T_INTERVAL, note="one item: no error can be had")
    means = clustered_means(aligned.values, codes, aligned.weights)
    several = aligned.values.shape[1] > 1
    variance = means.variance_of_difference(0, 1) if several else float(means.variance[0])
    method = T_INTERVAL if codes is None else f"t interval over {means.clusters} clusters of items"
    if np.sqrt(variance) <= _NOTHING * max(1.0, float(np.abs(spread).max())):
        if codes is not None or aligned.weights is not None:
            return _ByT(method, note="all changed alike: no error can be had")
        return _ByT(method, estimate, estimate, 0.0, "all items are alike")
    low = t_test(estimate, variance, means.df, 2 * low_level)[1]
    high = t_test(estimate, variance, means.df, 2 * high_level)[2]
    return _ByT(method, low, high, float(np.sqrt(variance)))


def _by_error(
    before: float, after: float, estimate: float, error: float, n: int, why: str, low_level: float, high_level: float
) -> Bounds:
    """An interval from a standard error alone; why: the items do not tell."""
    if n < 1:
        return Bounds(0, before, after, estimate, note="no items were scored")
    note = f"{why}: from standard errors, which is conservative" if error > 0 else f"{why}, and no standard errors"
    reach = [-float(ndtri(level)) * error if error > 0 else np.nan for level in (low_level, high_level)]
    low, high = estimate - reach[0], estimate + reach[1]
    return Bounds(n, before, after, estimate, low, high, error=error, method=Z_INTERVAL, note=note)


def _codes(aligned: Aligned, clusters: TaskClusters | None) -> tuple[Any, str]:
    """The cluster of each item, or None and why where clusters were asked for."""
    if clusters is None:
        return None, ""
    return clusters_of_items(clusters, aligned.keys if aligned.keys is not None else pd.DataFrame())


def _joined(notes: list[str]) -> str:
    return "; ".join(note for note in notes if note)
