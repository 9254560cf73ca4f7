"""Moves between the checkpoints of curves, and which of them count: labels, falls and sentences all rest on this.

Plain arrays: m curves of k points each at once, "up" meaning better.

A *move* goes from point i to a later one j. It is *large* if it spans the smallest change of interest and a fifth of
the curve's range (`thresholds`). Its t is its size over its standard error: item sampling (of the pair, where both
answered the same items) and training noise (see `noise`). Beside the k (k - 1) / 2 pairs the *trend* is looked at, the
slope of the weighted straight line; it is large where the line changes by the smallest change over the axis.

One error rate holds over all curves of a report. A curve's p is the smallest of its large moves and its trend times
their number c (Bonferroni). Of C curves the correction (Benjamini & Hochberg 1995) finds R to move at level alpha; then
a move within any curve counts where its p is at most alpha R / C / c, the level that keeps the share of false curves
and, within those that move, of false moves (Benjamini & Bogomolov 2014, Journal of the Royal Statistical Society B
76:297-318). Where nothing moves, some curve is said to move in at most alpha of reports. What passes for a curve passes
for its move: a p at most alpha R / C is just what the correction asks for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr, stdtr
from scipy.stats import t as student
from statsmodels.stats.multitest import multipletests

from evalrun.statistics.power import level_of
from evalrun.statistics.shapes.noise import Array
from evalrun.statistics.shapes.thresholds import ShapeSettings

Flags = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Curves:
    """m curves of k points each, in order of x."""

    x: Array  # (m, k) log10 of the axis
    up: Array  # (m, k)
    items: Array  # (m, k) variance by item sampling
    training: Array  # (m, k) variance by training noise
    df: Array  # (m,) degrees of freedom of the total variance
    margin: Array  # (m,) the smallest change of interest
    pair_items: Array | None = None  # (m, k, k) variance of a move by item sampling; None: both points', added
    pair_p: Array | None = None  # (m, k, k) p of a move by an exact test on the same items; None without one

    @property
    def pair_item_variance(self) -> Array:
        """(m, k, k) variance of the move from one point to another by item sampling."""
        return self.items[:, None, :] + self.items[:, :, None] if self.pair_items is None else self.pair_items


@dataclass(frozen=True)
class Moves:
    """All moves of m curves, from row to column; 0 below the diagonal."""

    size: Array  # (m, k, k)
    error: Array  # (m, k, k)
    t: Array  # (m, k, k)
    large: Flags  # (m, k, k)
    exact_p: Array | None  # (m, k, k)
    trend_t: Array  # (m,)
    trend_large: Flags  # (m,)
    df: Array  # (m,)
    comparisons: int  # all pairs and the trend

    def p(self) -> Array:
        """(m,) two-sided p of each curve, corrected over its comparisons; NaN where no error is known."""
        m, k = self.size.shape[:2]
        if k < 2:
            return np.full(m, np.nan)
        if self.exact_p is None:
            strongest = np.where(self.large, np.abs(self.t), 0.0).max(axis=(1, 2))
            least = two_sided(strongest, self.df)
        else:
            of_pair = np.maximum(two_sided(self.t, self.df[:, None, None]), self.exact_p)
            least = np.where(self.large, of_pair, 1.0).min(axis=(1, 2))
        trend = np.where(self.trend_large, two_sided(self.trend_t, self.df), 1.0)
        known = np.isfinite(self.error).all(axis=(1, 2))
        return np.where(known, np.minimum(np.minimum(least, trend) * self.comparisons, 1.0), np.nan)

    def threshold(self, level: float) -> Array:
        """(m,) the t that a move must exceed, at a level for each curve."""
        if self.comparisons < 2:
            return np.full(len(self.df), np.nan)
        return np.asarray(student.ppf(1 - level / 2 / self.comparisons, self.df))

    def count(self, level: float) -> Flags:
        """(m, k, k) moves that count, at a level for each curve."""
        counts = self.large & (np.abs(self.t) > self.threshold(level)[:, None, None])
        return counts if self.exact_p is None else counts & (self.exact_p <= level / self.comparisons)

    def trend(self, level: float) -> Array:
        """(m,) 1 or -1 where the trend counts, else 0."""
        return np.where(self.trend_large & (np.abs(self.trend_t) > self.threshold(level)), np.sign(self.trend_t), 0.0)


def moves_of(curves: Curves, settings: ShapeSettings) -> Moves:
    """All moves of m curves of equally many points."""
    up = curves.up
    k = up.shape[1]
    later = np.triu(np.ones((k, k), dtype=bool), 1)
    size = np.where(later, up[:, None, :] - up[:, :, None], 0.0)
    training = curves.training
    error = np.sqrt(curves.pair_item_variance + training[:, None, :] + training[:, :, None])
    # An error of 0 is left only where neighbouring differences do not vary at all: any move is then beyond doubt.
    t = np.divide(size, error, out=np.sign(size) * 1e6, where=error > 0)
    span = np.maximum(settings.move_share * np.ptp(up, axis=1), curves.margin)[:, None, None]
    # Differences of decimals such as 0.7 - 0.5 fall a rounding error short of what they are.
    large = later & (np.abs(size) >= span * (1 - 1e-9)) & (size != 0)
    trend_t, change = _trend(curves)
    trend_large = (np.abs(change) >= curves.margin * (1 - 1e-9)) & (change != 0)
    return Moves(size, error, t, large, curves.pair_p, trend_t, trend_large, curves.df, k * (k - 1) // 2 + 1)


def share_of_curves(p: Array, settings: ShapeSettings) -> tuple[int, int, float]:
    """How the report's level is shared among its curves.

    Args:
        p: Of each curve, corrected within it; NaN of those that were not tested.
        settings: Level and correction.

    Returns:
        Curves tested, curves found to move, and the share of alpha that is a curve's own.
    """
    tested = p[np.isfinite(p)]
    if not len(tested):
        return 0, 0, 1.0
    moved = int(multipletests(tested, alpha=settings.alpha, method=settings.correction)[0].sum())
    return len(tested), moved, level_of(1.0, len(tested), max(moved, 1), settings.correction)


def two_sided(t: Array, df: Array) -> Array:
    """P of |t| by Student's t, normal where the degrees of freedom are infinite."""
    finite = np.isfinite(df)
    return np.asarray(2 * np.where(finite, stdtr(np.where(finite, df, 1.0), -np.abs(t)), ndtr(-np.abs(t))))


def _trend(curves: Curves) -> tuple[Array, Array]:
    """Slope of the straight line by weighted least squares over its standard error, and its change over the axis."""
    total = curves.items + curves.training
    weight = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
    whole = np.maximum(weight.sum(axis=1, keepdims=True), 1e-300)
    x = curves.x - (weight * curves.x).sum(axis=1, keepdims=True) / whole
    spread = (weight * x**2).sum(axis=1)
    moment = (weight * x * curves.up).sum(axis=1)
    some = spread > 0
    t = np.divide(moment, np.sqrt(spread), out=np.zeros_like(spread), where=some)
    slope = np.divide(moment, spread, out=np.zeros_like(spread), where=some)
    return t, slope * np.ptp(curves.x, axis=1)
