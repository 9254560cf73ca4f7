"""Where training made it worse: each curve's largest fall after a peak, with the search for it paid for.

A curve is one task's values of one model (and training seed) at its k checkpoints, in order of tokens. Of all
m = k (k - 1) / 2 pairs of an earlier and a later checkpoint the one with the largest fall is told. Looking for it is a
search over m tests, so every p-value is multiplied by m (Bonferroni), and the interval of the fall is the pair's at
level alpha / m: all m intervals of a curve hold at once with probability 1 - alpha, whichever pair is looked at. The
price against the exact distribution of the largest difference (Tukey's studentised range) is small: for 8 checkpoints a
threshold of 3.12 in place of 3.03 standard errors, for 150 of 4.59 in place of 4.47; and unlike a permutation test of
the largest difference it needs no assumption that all checkpoints are exchangeable. The p-values of the curves are then
corrected for the number of curves.

Where per-item results are given, pairs are tested on the same items: by the exact McNemar test with Newcombe's
interval where the metric is 0 or 1 on each item, else by the paired t test (a permutation test has no p-values small
enough for thousands of pairs). Otherwise by z from the two standard errors, which is conservative. See `paired`.

The tests speak of the checkpoints' answers to items like these. That a checkpoint fell by 0.02 can be shown with enough
items, and still be what any two neighbouring checkpoints differ by: hold the fall against the noise between
checkpoints, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from evalrun.statistics.items.paired import MCNEMAR, Z_TEST, corrected, mcnemar, newcombe
from evalrun.statistics.items.values import Floats, Items, align, columns_of, item_values
from evalrun.statistics.reliability.intervals import standard_errors

T_TEST = "paired t test"
COLUMNS = [
    *("task", "title", "model", "seed", "peak_step", "peak_value", "trough_step", "trough_value", "fall", "low"),
    *("high", "p", "q", "n", "pairs", "method", "recovered", "final_fall", "note"),
]


@dataclass(frozen=True)
class _Curve:
    """A curve's checkpoints in order of tokens."""

    about: dict[str, Any]  # task, title, model, seed
    metric: str
    sign: float  # 1 where higher is better, else -1
    step: Floats
    value: Floats
    stderr: Floats
    n: Floats
    run_ids: list[str]


@dataclass(frozen=True)
class _Pairs:
    """All pairs of an earlier and a later checkpoint of a curve, in the order of `_order`."""

    value: Floats  # (k,): what is compared, in the metric's own direction
    fall: Floats  # (m,): how much worse the later one is
    p: Floats  # (m,): two-sided, of each pair for itself
    interval: Callable[[int, float], tuple[float, float]]  # of the fall of one pair, at level alpha
    n: float  # items
    method: str
    note: str


def find_drops(
    table: pd.DataFrame, items: Items | None = None, correction: str = "fdr_bh", alpha: float = 0.05
) -> pd.DataFrame:
    """Find the largest fall of every curve.

    Of the falls that are significant the largest is told; if none is, the largest of all.

    Args:
        table: Rows of `Prepared.table`: one for each task, model, seed and step.
        items: Gives per-item results; None to use the standard errors.
        correction: Of the p-values over the curves, by statsmodels' name.
        alpha: Level of the simultaneous intervals, and of what counts as a fall and a recovery within a curve.

    Returns:
        One row for each task, model and seed, with the columns of `COLUMNS`. peak and trough are the earlier and the
        later checkpoint, with their values in the metric's own direction; fall is how much worse the later one is, a
        positive number, and low and high its interval, simultaneous over the curve's `pairs`; p is corrected over
        them, q over the curves too; n is the number of items; recovered says whether a checkpoint after the trough is
        significantly better again (missing where the fall is not significant); final_fall is how much worse the last
        checkpoint is than the peak. A curve that never falls has a fall of 0, a p of 1 and no steps.
    """
    rows = [{**curve.about, **_largest(curve, _pairs(curve, items), alpha)} for curve in _curves(table)]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    frame["q"] = corrected(frame["p"].to_numpy(dtype="float64"), correction)
    return frame.astype({"recovered": "boolean"})


@lru_cache(maxsize=32)
def _order(k: int) -> tuple[np.ndarray[Any, np.dtype[np.intp]], np.ndarray[Any, np.dtype[np.intp]]]:
    """Earlier and later checkpoint of each pair."""
    return np.triu_indices(k, 1)


def _curves(table: pd.DataFrame) -> Iterator[_Curve]:
    """Each task's curve of each model and seed, in order of tokens."""
    table = table.reset_index(drop=True)
    tokens = table["tokens"].to_numpy(dtype="float64")
    numbers = {
        name: table[name].to_numpy(dtype="float64", na_value=np.nan) for name in ("step", "value", "stderr", "n")
    }
    texts = {
        name: table[name].to_numpy(dtype=object) for name in ("task", "title", "model", "seed", "metric", "run_id")
    }
    higher = table["higher_is_better"].to_numpy(dtype=bool)
    for found in table.groupby(["task", "model", "seed"], dropna=False, sort=False).indices.values():
        places = np.asarray(found)
        order = places[np.argsort(tokens[places], kind="stable")]
        first = order[0]
        yield _Curve(
            about={name: texts[name][first] for name in ("task", "title", "model", "seed")},
            metric=str(texts["metric"][first]),
            sign=1.0 if higher[first] else -1.0,
            run_ids=[str(run_id) for run_id in texts["run_id"][order]],
            **{name: column[order] for name, column in numbers.items()},
        )


def _largest(curve: _Curve, pairs: _Pairs, alpha: float) -> dict[str, Any]:
    """The row of a curve, without what it is about."""
    k, m = len(curve.step), len(pairs.fall)
    known = {"n": pairs.n, "pairs": m, "method": pairs.method, "note": pairs.note}
    if not m:
        return {**known, "note": "one checkpoint"}
    if not (pairs.fall > 0).any():
        return {**known, "fall": 0.0, "p": 1.0, "final_fall": 0.0, "note": _joined(pairs.note, "never falls")}
    adjusted = np.minimum(pairs.p * m, 1.0)
    moved = adjusted <= alpha
    fell = moved & (pairs.fall > 0)
    at = int(np.argmax(np.where(fell, pairs.fall, 0.0) if fell.any() else pairs.fall))
    earlier, later = _order(k)
    peak, trough = int(earlier[at]), int(later[at])
    again = moved & (pairs.fall < 0) & (earlier == trough)
    low, high = pairs.interval(at, alpha / m)
    return {
        **known,
        "peak_step": curve.step[peak],
        "peak_value": pairs.value[peak],
        "trough_step": curve.step[trough],
        "trough_value": pairs.value[trough],
        "fall": pairs.fall[at],
        "low": low,
        "high": high,
        "p": adjusted[at],
        "recovered": bool(again.any()) if fell.any() else pd.NA,
        "final_fall": curve.sign * (pairs.value[peak] - pairs.value[-1]),
    }


def _pairs(curve: _Curve, items: Items | None) -> _Pairs:
    """On the same items where all checkpoints have them, else by the standard errors."""
    if items is None or len(curve.step) < 2:
        return _by_stderr(curve, "no per-item results")
    columns, task = columns_of(curve.metric), str(curve.about["task"])
    found = [item_values(items(run_id, task, columns), curve.metric) for run_id in curve.run_ids]
    there = [values for values in found if values is not None]
    if len(there) < len(found):
        return _by_stderr(curve, f"{len(found) - len(there)} of {len(found)} checkpoints without per-item results")
    if not all(one.average_to(value) for one, value in zip(there, curve.value, strict=True)):
        return _by_stderr(curve, f"'{curve.metric}' is not the mean over items")
    aligned = align(there)
    if len(aligned.values) < 2:
        return _by_stderr(curve, aligned.note or "one item")
    values = aligned.values
    binary = ((values == 0) | (values == 1)).all()
    return replace((_by_mcnemar if binary else _by_t)(curve.sign, values), note=aligned.note)


def _by_mcnemar(sign: float, values: Floats) -> _Pairs:
    """Of values that are 0 or 1: (items, checkpoints)."""
    n, k = values.shape
    i, j = _order(k)
    both = (values.T @ values)[i, j]
    right = values.sum(axis=0)
    fell, rose = right[i] - both, right[j] - both

    def interval(at: int, alpha: float) -> tuple[float, float]:
        low, high = (float(end) for end in newcombe(both[at], fell[at], rose[at], n, alpha))  # of later - earlier
        return (-high, -low) if sign > 0 else (low, high)

    return _Pairs(right / n, sign * (fell - rose) / n, mcnemar(fell, rose), interval, n, MCNEMAR, "")


def _by_t(sign: float, values: Floats) -> _Pairs:
    """Of any values: (items, checkpoints). The variance of a difference follows from the covariances."""
    n, k = values.shape
    i, j = _order(k)
    mean = values.mean(axis=0)
    # Taking each item's own level out changes no difference and keeps the digits that the subtraction would lose.
    covariance = np.atleast_2d(np.cov(values - values.mean(axis=1, keepdims=True), rowvar=False))
    variance = covariance[i, i] + covariance[j, j] - 2 * covariance[i, j]
    fall = sign * (mean[i] - mean[j])
    return _by_error(mean, fall, np.sqrt(np.maximum(variance, 0) / n), n, n - 1, T_TEST)


def _by_stderr(curve: _Curve, why: str) -> _Pairs:
    i, j = _order(len(curve.step))
    error = standard_errors(curve.value, curve.stderr, curve.n)
    fall = curve.sign * (curve.value[i] - curve.value[j])
    items = curve.n[np.isfinite(curve.n)].min(initial=np.inf)
    found = _by_error(curve.value, fall, np.hypot(error[i], error[j]), items, np.inf, Z_TEST)
    unknown = "no standard errors" if np.isnan(error).all() else ""
    return replace(found, n=items if np.isfinite(items) else np.nan, note=_joined(why, unknown or "conservative"))


def _by_error(value: Floats, fall: Floats, error: Floats, n: float, df: float, method: str) -> _Pairs:
    """By fall / error, a t of so many degrees of freedom; an error of 0 leaves no doubt about any fall."""
    t = np.divide(np.abs(fall), error, out=np.where(fall == 0, 0.0, np.inf), where=~(error == 0))
    p = 2 * (ndtr(-t) if np.isinf(df) else stdtr(df, -t))

    def interval(at: int, alpha: float) -> tuple[float, float]:
        reach = error[at] * (-ndtri(alpha / 2) if np.isinf(df) else -stdtrit(df, alpha / 2))
        return float(fall[at] - reach), float(fall[at] + reach)

    return _Pairs(value, fall, p, interval, n, method, "")


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
