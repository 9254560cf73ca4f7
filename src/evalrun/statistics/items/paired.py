"""Did it get worse? Two checkpoints compared on the same items.

Both answered the same questions, so what counts is how many answers changed each way. That is far sharper than
comparing two accuracies by their standard errors, which takes the items for two samples.

- Metrics that are 0 or 1 on each item: the exact McNemar test (binomial test of the items that changed; McNemar 1947)
  and Tango's score interval for the difference of paired proportions (`score_interval`).
- Other metrics (the probability of the true answers, log-probabilities): the sign-flip permutation test of the mean
  difference (Fisher 1935) and its bias-corrected, accelerated bootstrap interval (Efron 1987).
- Metrics that are a ratio of sums, such as bits per byte: documents differ in length, and the corpus' difference is
  D = sum of d_i / sum of b_i, d_i the difference of a document's nats and b_i its bytes. Its error is that of the
  linearised residuals d_i - D b_i (Cochran 1977, section 6.3), each document a cluster of b_i bytes: bias-reduced, with
  Satterthwaite's degrees of freedom (`clusters`), since a few long documents may carry the sum. Where all documents are
  equally long it is the paired t test.
- Items that share a template or a passage: a t test with errors clustered by it (`clusters`), of any metric.
- Without items: a z test from the two standard errors. It is conservative, because answers to the same items are
  positively correlated and this takes them for independent.

All p-values are two-sided. They speak of these two checkpoints and of items like these; how much two trainings of one
model differ is another question.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

from evalrun.statistics.items.clusters import Clusters, TaskClusters, clustered_means, clusters_of_items, t_test
from evalrun.statistics.items.paired_shares import mcnemar
from evalrun.statistics.items.resampling import bootstrap_mean, sign_flip
from evalrun.statistics.items.score_interval import score_interval
from evalrun.statistics.items.two_results import common_items, unpaired_error
from evalrun.statistics.items.values import Aligned, Floats, Items, align, item_values
from evalrun.statistics.multiplicity import adjusted

MCNEMAR = "exact McNemar test"
SIGN_FLIP = "sign-flip permutation test"
T_TEST = "paired t test"
RATIO_TEST = "paired t test of a ratio"
Z_TEST = "z test from standard errors"
COLUMNS = [
    *("task", "title", "metric", "higher_is_better", "n", "before", "after", "difference", "low", "high"),
    *("fell", "rose", "odds_ratio", "effect", "clusters", "p", "q", "method", "verdict", "note"),
]


@dataclass(frozen=True)
class Paired:
    """Two results on the same items; numbers are NaN where there is nothing to compare, and the note says why."""

    n: int = 0  # items that both have
    before: float = np.nan  # the metric's mean over them
    after: float = np.nan
    difference: float = np.nan  # after - before
    low: float = np.nan  # the interval of the difference
    high: float = np.nan
    fell: float = np.nan  # items whose value is lower after; this and the next three are NaN without per-item results
    rose: float = np.nan  # items whose value is higher after
    odds_ratio: float = np.nan  # rose / fell, of a 0/1 metric: inf where none fell
    effect: float = np.nan  # difference / standard deviation of the items' differences (Cohen's d_z)
    clusters: float = np.nan  # of items, where the test is clustered
    p: float = np.nan
    method: str = ""
    note: str = ""


def paired(
    before: pd.DataFrame, after: pd.DataFrame, metric: str, alpha: float = 0.05, draws: int = 9999, seed: int = 0
) -> Paired:
    """Compare a metric on the items that both results have, told by doc_id and doc_hash.

    Args:
        before: One result's items, with the columns of `values.columns_of(metric)`.
        after: The other's.
        metric: As the tidy table calls it.
        alpha: The interval covers with probability 1 - alpha.
        draws: Sign flips, and bootstrap samples, where the metric is not 0 or 1.
        seed: Of both.
    """
    values = (item_values(before, metric), item_values(after, metric))
    if values[0] is None or values[1] is None:
        return Paired(note=f"no value of '{metric}' for each item")
    return _paired(align([values[0], values[1]]), alpha, draws, seed)


def compare_checkpoints(
    before: pd.DataFrame,
    after: pd.DataFrame,
    items: Items | None,
    correction: str = "fdr_bh",
    alpha: float = 0.05,
    draws: int = 9999,
    seed: int = 0,
    clusters: Clusters | None = None,
) -> pd.DataFrame:
    """Compare two checkpoints on every task that both have.

    Args:
        before: Rows of the tidy table: one a task.
        after: The same of the other checkpoint.
        items: Gives per-item results; None where there are none.
        correction: Of the p-values over the tasks, by statsmodels' name.
        alpha: Level of the intervals (each for itself) and of the verdicts (by q).
        draws: See `paired`.
        seed: See `paired`.
        clusters: Gives the clusters of a task's items; None for items that were drawn one by one.

    Returns:
        One row a task, in the order of `before`, with the columns of `COLUMNS`: those of `Paired`; q, corrected over
        these tasks; verdict: worse, better, no difference shown, or not comparable, in the metric's direction.
    """
    others = {str(row["task"]): row for row in after.to_dict("records")}
    rows: list[dict[str, Any]] = []
    for row in before.to_dict("records"):
        other = others.get(str(row["task"]))
        if other is not None:
            known = clusters(str(row["task"])) if clusters is not None else None
            found = _compare(row, other, items, alpha, draws, seed, known)
            about = {name: row[name] for name in ("task", "title", "metric", "higher_is_better")}
            rows.append({**about, **asdict(found)})
    return with_verdicts(pd.DataFrame(rows, columns=COLUMNS), correction, alpha)


def with_verdicts(frame: pd.DataFrame, correction: str, alpha: float) -> pd.DataFrame:
    """Comparisons with q, corrected over all of them, and their verdicts.

    Args:
        frame: Rows with the columns of `COLUMNS`; q and verdict are set anew.
        correction: statsmodels' name.
        alpha: The level of q.
    """
    frame["q"] = corrected(frame["p"].to_numpy(dtype="float64"), correction)
    better = (frame["difference"] > 0) == frame["higher_is_better"].astype(bool)
    shown = (frame["q"] < alpha).to_numpy()
    verdict = np.where(shown, np.where(better, "better", "worse"), "no difference shown")
    frame["verdict"] = np.where(frame["q"].isna(), "not comparable", verdict)
    return frame


def corrected(p: Floats, correction: str) -> Floats:
    """p-values corrected for their number, missing ones left out; `correction` is statsmodels' name."""
    q = np.full(p.shape, np.nan)
    known = np.isfinite(p)
    if known.any():
        q[known] = adjusted(p[known], correction, 0.05)
    return q


def _compare(
    row: Mapping[Any, Any],
    other: Mapping[Any, Any],
    items: Items | None,
    alpha: float,
    draws: int,
    seed: int,
    clusters: TaskClusters | None,
) -> Paired:
    """Test one task between two checkpoints: paired by item, or by standard errors where the items do not allow it.

    Args:
        row: The first, a row of the tidy table.
        other: The second.
        items: Reads the items of a run and task; None without them.
        alpha: Of the interval.
        draws: Of sign flips and of the bootstrap.
        seed: Of the draws.
        clusters: Of the task's items; None for none.
    """
    aligned = common_items([row, other], items)
    if isinstance(aligned, str):
        return _unpaired(row, other, alpha, aligned)
    result = _paired(aligned, alpha, draws, seed)
    return result if clusters is None or not result.n else _clustered(result, aligned, clusters, alpha)


def _clustered(found: Paired, aligned: Aligned, clusters: TaskClusters, alpha: float) -> Paired:
    """Test a comparison again with errors clustered, or note why that cannot be."""
    keys = aligned.keys if aligned.keys is not None else pd.DataFrame()
    codes, why = clusters_of_items(clusters, keys)
    if codes is None:
        return replace(found, note="; ".join(note for note in (found.note, why) if note))
    means = clustered_means(aligned.values, codes, aligned.weights)
    p, low, high = t_test(found.difference, means.variance_of_difference(0, 1), means.df, alpha)
    alike = "all clusters changed alike: no error can be had" if np.isnan(p) else ""
    method = f"t test with errors clustered by {clusters.column} ({means.clusters} clusters, df {means.df:.1f})"
    note = "; ".join(note for note in (aligned.note, alike) if note)
    return replace(found, p=p, low=low, high=high, clusters=means.clusters, method=method, note=note)


def _paired(aligned: Aligned, alpha: float, draws: int, seed: int) -> Paired:
    """McNemar's exact test and Tango's interval for values 0 and 1, else sign flips and a bootstrap of the mean."""
    if not len(aligned.values):
        return Paired(note=aligned.note)
    x, y = aligned.values.T
    change = y - x
    n, spread = len(change), float(np.std(change, ddof=1)) if len(change) > 1 else 0.0
    # Values that all differ by one number differ in their last digits too: that is no spread.
    level = spread <= 1e-12 * max(1.0, float(np.abs(change).max()))
    of_item = aligned.each[:, 1] - aligned.each[:, 0]
    fell, rose = int((of_item < 0).sum()), int((of_item > 0).sum())
    notes = [aligned.note, "no item changed" if not (fell or rose) else ""]
    odds = np.nan
    if aligned.weights is not None:
        method, (p, low, high) = RATIO_TEST, _of_ratio(aligned, alpha)
        notes.append("" if np.isfinite(p) else "one item, or all changed alike: no error can be had")
    elif np.isin(aligned.values, (0.0, 1.0)).all():
        method, odds = MCNEMAR, np.inf if rose and not fell else rose / fell if fell else np.nan
        p = float(mcnemar(np.array(fell), np.array(rose)))
        low, high = score_interval(fell, rose, n, alpha / 2, alpha / 2)
    elif level:
        method, p, low, high = SIGN_FLIP, 1.0 if not change.any() else 2.0 ** (1 - n), change.mean(), change.mean()
        notes.append("all items changed alike" if fell or rose else "")
    else:
        method = SIGN_FLIP
        p = sign_flip(change, draws, seed)
        low, high = bootstrap_mean(change, alpha, draws, seed)
        notes.append("" if np.isfinite(low) else "no interval: too few distinct values")
    return Paired(
        n=n,
        before=float(x.mean()),
        after=float(y.mean()),
        difference=float(change.mean()),
        low=float(low),
        high=float(high),
        fell=fell,
        rose=rose,
        odds_ratio=float(odds),
        effect=np.nan if level else float(change.mean() / spread),
        p=p,
        method=method,
        note="; ".join(note for note in notes if note),
    )


def _of_ratio(aligned: Aligned, alpha: float) -> tuple[float, float, float]:
    """The p-value and the interval of the difference between two ratios over the same items; NaN of one item."""
    if len(aligned.values) < 2:
        return np.nan, np.nan, np.nan
    means = clustered_means(aligned.values, None, aligned.weights)
    return t_test(float(means.mean[1] - means.mean[0]), means.variance_of_difference(0, 1), means.df, alpha)


def _unpaired(row: Mapping[Any, Any], other: Mapping[Any, Any], alpha: float, why: str) -> Paired:
    """Test by both standard errors (z), as if items were independent: conservative; why: they are not paired."""
    value, n = (np.array([row[name], other[name]], dtype="float64") for name in ("value", "n"))
    error = unpaired_error(row, other)
    difference = float(value[1] - value[0])
    reach = -float(ndtri(alpha / 2)) * error
    p = 2 * float(ndtr(-abs(difference) / error)) if error > 0 else np.nan
    return Paired(
        n=int(np.nan_to_num(n).min()),
        before=float(value[0]),
        after=float(value[1]),
        difference=difference,
        low=difference - reach,
        high=difference + reach,
        p=p,
        method=Z_TEST,
        note=f"{why}: conservative" if error > 0 else f"{why}, and no standard errors",
    )
