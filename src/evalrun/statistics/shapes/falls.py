"""Where training made it worse: each curve's largest fall after a peak.

A fall is a move that counts as `moves` defines it: it spans the smallest change of interest and a fifth of the curve's
range; it beats what item sampling and the noise between checkpoints explain, with the search over all pairs of the
curve and over all curves of the report paid for. A curve whose falling trend counts, while no pair of its checkpoints
does, falls too. Where per-item results are given, item sampling is that of the pair on the same items (see
`pair_tests`), and the exact test has to agree.

The interval of a fall is the pair's at the level that a curve may spend, shared among its pairs: all intervals of a
curve hold at once, and of the curves that are told a share of at most alpha is wrong (Benjamini & Yekutieli 2005,
Journal of the American Statistical Association 100:71-81). The price of Bonferroni within a curve against the exact
distribution of the largest difference (Tukey's studentised range) is small: for 8 checkpoints a threshold of 3.12 in
place of 3.03 standard errors, for 150 of 4.59 in place of 4.47.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student

from evalrun.core.stages import stage
from evalrun.statistics.items.pair_tests import PairTests, pairs_of
from evalrun.statistics.items.paired import Z_TEST
from evalrun.statistics.shapes.decision import Batch, Decision
from evalrun.statistics.shapes.moves import Flags, two_sided
from evalrun.statistics.shapes.noise import Array
from evalrun.statistics.shares import is_ratio

COLUMNS = [
    *("task", "title", "model", "seed", "higher_is_better", "falls", "peak_step", "peak_value", "trough_step"),
    *("trough_value", "fall", "low", "high", "changes", "p", "q", "n", "pairs", "method", "recovered", "final_fall"),
    "note",
]
TREND = "trend"
_FEWEST = 3  # checkpoints that roughness is measured from
_ABOUT = ("task", "title", "model", "seed", "higher_is_better")


@stage("shapes and falls")
def find_falls(decision: Decision, shapes: pd.DataFrame) -> pd.DataFrame:
    """Find the largest fall of every curve over training.

    Of the falls that count the largest is told; if none does, the largest of all.

    Args:
        decision: Of `over_training`'s curves.
        shapes: `labels.describe_shapes` of it, which says whether a fall counts, or a falling trend.

    Returns:
        One row for each task, model and seed, with the columns of `COLUMNS`. falls says whether the fall counts; peak
        and trough are the earlier and the later checkpoint, with their values in the metric's own direction; fall is
        how much worse the later one is, a positive number, and low and high its interval, simultaneous over the
        curve's `pairs`; changes is the fall in smallest changes of interest, by which falls of different metrics are
        ranked; p is corrected over the pairs, q over the curves too; n is the number of items; recovered says whether
        a rise that counts follows the trough (missing where no fall counts); final_fall is how much worse the last
        checkpoint is than the peak. A curve that never falls has a fall of 0, a p of 1 and no steps.
    """
    falls = shapes["falls"].to_numpy(dtype=bool)
    rows = {
        int(place): row
        for batch in decision.batches()
        for place, row in zip(batch.which, _rows(decision, batch, falls[batch.which]), strict=True)
    }
    frame = pd.DataFrame([rows[place] for place in sorted(rows)], columns=COLUMNS)
    return frame.astype({"recovered": "boolean", "falls": bool})


def _rows(decision: Decision, batch: Batch, falls: Flags) -> Iterator[dict[str, Any]]:
    """A row a curve, of `COLUMNS`.

    Args:
        decision: About all curves.
        batch: Some of them, with their moves.
        falls: (m,) whether each of them falls, by a pair or by its trend.
    """
    curves, moves = batch.curves, batch.moves
    k = batch.at.shape[1]
    table = decision.curves.rows
    first = table.iloc[batch.at[:, 0]]
    about = [dict(zip(_ABOUT, row, strict=True)) for row in first[list(_ABOUT)].itertuples(index=False)]
    counts = moves.count(decision.level)
    rough = decision.curves.noise.rough
    value, step, n = (table[name].to_numpy(dtype="float64", na_value=np.nan) for name in ("value", "step", "n"))
    shares = ~is_ratio(first) & ((value[batch.at] >= 0) & (value[batch.at] <= 1)).all(axis=1)
    for place, at in enumerate(batch.at):
        tests = decision.curves.pairs[batch.which[place]] if decision.curves.pairs else None
        known = _known(tests, n[at], bool(rough[at].any()), k)
        size = moves.size[place]
        if k < 2:
            yield {**about[place], **known, "falls": False, "note": "one checkpoint"}
            continue
        if not (size < 0).any():
            note = _joined(known["note"], "never falls")
            none = {"falls": False, "fall": 0.0, "changes": 0.0, "p": 1.0, "q": 1.0, "final_fall": 0.0}
            yield {**about[place], **known, **none, "note": note}
            continue
        fell = counts[place] & (size < 0)
        falling = np.where(fell, -size, 0.0) if fell.any() else np.where(size < 0, -size, 0.0)
        peak, trough = (int(end) for end in np.unravel_index(falling.argmax(), size.shape))
        trend = bool(falls[place]) and not fell.any()
        p = _p(batch, place, peak, trough, trend)
        low, high = _interval(batch, decision.level, place, (peak, trough), value[at], bool(shares[place]), tests)
        again = counts[place, trough] & (size[trough] > 0)
        yield {
            **about[place],
            **known,
            "falls": bool(falls[place]),
            "peak_step": step[at[peak]],
            "peak_value": value[at[peak]],
            "trough_step": step[at[trough]],
            "trough_value": value[at[trough]],
            "fall": -size[peak, trough],
            "low": low,
            "high": high,
            "changes": -size[peak, trough] / curves.margin[place] if curves.margin[place] > 0 else np.inf,
            "p": p,
            "q": float(decision.over_curves(np.array(p))),
            "method": TREND if trend else known["method"],
            "recovered": bool(again.any()) if falls[place] else pd.NA,
            "final_fall": curves.up[place, peak] - curves.up[place, -1],
        }


def _known(tests: PairTests | None, n: Array, rough: bool, k: int) -> dict[str, Any]:
    """What the falls of a curve are judged by."""
    least = float(n[np.isfinite(n)].min()) if np.isfinite(n).any() else np.nan
    pairs = k * (k - 1) // 2
    if tests is not None and tests.known:
        return {"n": tests.n, "pairs": pairs, "method": tests.method, "note": tests.note}
    note = "no per-item results; conservative" if tests is None else tests.note
    if rough:
        note = "no standard errors: the curve's own roughness stands for them"
        if k < _FEWEST:
            note = f"no standard errors, and fewer than {_FEWEST} checkpoints to measure the curve's roughness"
    return {"n": least, "pairs": pairs, "method": Z_TEST, "note": note}


def _p(batch: Batch, place: int, peak: int, trough: int, trend: bool) -> float:
    """Corrected over all that is compared in a curve."""
    moves = batch.moves
    t = moves.trend_t[place] if trend else moves.t[place, peak, trough]
    if not np.isfinite(moves.error[place, peak, trough]):
        return np.nan
    p = float(two_sided(np.array(t), np.array(moves.df[place])))
    if moves.exact_p is not None and not trend:
        p = max(p, float(moves.exact_p[place, peak, trough]))
    return min(1.0, p * moves.comparisons)


def _interval(
    batch: Batch,
    level: float,
    place: int,
    pair: tuple[int, int],
    value: Array,
    is_share: bool,
    tests: PairTests | None,
) -> tuple[float, float]:
    """Of one fall: the exact test's own where item sampling is all there is, else t standard errors to either side.

    Args:
        batch: Some curves.
        level: What each of them may spend.
        place: Which of them.
        pair: Peak and trough.
        value: (k,) of the curve, in the metric's own direction.
        is_share: Whether all of them are shares, such as accuracies.
        tests: Of its pairs on the same items.
    """
    moves, (peak, trough) = batch.moves, pair
    level /= moves.comparisons
    if tests is not None and tests.interval is not None and np.isinf(moves.df[place]):
        earlier, later = pairs_of(len(value))
        (at,) = np.flatnonzero((earlier == peak) & (later == trough))
        low, high = tests.interval(int(at), level)
        return (-high, -low) if value[trough] < value[peak] else (low, high)
    fall = float(-moves.size[place, peak, trough])
    reach = float(student.ppf(1 - level / 2, moves.df[place]) * moves.error[place, peak, trough])
    if not np.isfinite(reach):
        return np.nan, np.nan
    most = 1.0 if is_share else np.inf  # no share falls by more
    return max(fall - reach, -most), min(fall + reach, most)


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
