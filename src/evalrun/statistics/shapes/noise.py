"""How far a value lies from its curve by chance: item sampling, and the training noise that comes on top of it.

Item errors: the given standard error; where it is missing or 0 (as for accuracies of exactly 0 or 1) and the value is
a proportion of n items, that of the plus-four estimate, p~ = (n p + 2) / (n + 4) (Agresti & Coull 1998); else the
scale of the residuals that training noise is measured by, which trends and bends add little to. With too few of
these it is the standard deviation of the differences between neighbouring points over sqrt(2), which counts every
change as noise; of fewer than three points nothing is known then, and no move of theirs can count. Where checkpoints
answered the same items, half of the variance of the difference to the next one on these items stands for a point's own.

Training noise: two checkpoints of one run differ by more than their items explain. It is measured by how far each
inner point lies from the straight line between its neighbours, scaled to the variance of one point (Gasser, Sroka &
Jennen-Steinmetz 1986, Biometrika 73:625-633): a trend adds nothing to it, a bend little where points lie
close. These residuals are pooled over all curves of a task. Their scale is robust, so that a few sharp bends are not
taken for noise: the median absolute deviation, then the mean square of what lies within 2.5 of it (a reweighted scale:
Rousseeuw & Leroy 1987). What it exceeds the item errors by is added to the variance of every point of the task; nothing
is ever taken off, although checkpoints that answer the same items differ by less than their item errors say. With
fewer than 12 residuals there is no saying, and item errors stand alone.

Over size the same is the noise between models: each has a level of its own, which its steps share. The degrees of
freedom are then divided by the design effect, how much more the residuals of one model vary together than apart (Kish
1965), and five models are enough to look for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from evalrun.statistics.reliability.intervals import standard_errors
from evalrun.statistics.shares import counted_items

Array = np.ndarray[Any, np.dtype[np.float64]]

FEWEST_RESIDUALS = 12
FEWEST_MODELS = 5  # of a curve over size, to measure how models differ from their neighbours
_WITHIN = 2.5  # robust standard deviations; what lies beyond is a bend, not noise
_MAD = float(norm.ppf(0.75))
# Variance of a standard normal cut off at +-2.5.
_CUT = 1 - 2 * _WITHIN * float(norm.pdf(_WITHIN)) / (2 * float(norm.cdf(_WITHIN)) - 1)


@dataclass(frozen=True)
class Noise:
    """Variances of a table's values, row by row."""

    items: Array  # (rows,) item sampling alone
    total: Array  # (rows,) with training noise
    df: Array  # (rows,) degrees of freedom of the total; infinite where no training noise was found
    sought: np.ndarray[Any, np.dtype[np.bool_]]  # (rows,) whether the task has enough points to look for it
    rough: np.ndarray[Any, np.dtype[np.bool_]]  # (rows,) whether no standard error is known and roughness stands in

    @cached_property
    def training(self) -> Array:
        """(rows,) variance by training noise."""
        known = np.isfinite(self.items)
        return np.where(known, self.total, 0.0) - np.where(known, self.items, 0.0)


def measure_noise(
    rows: pd.DataFrame, curve: np.ndarray[Any, Any], x: Array, paired: Array | None = None, repeats: bool = False
) -> Noise:
    """Variance of each value.

    Args:
        rows: Columns task, value, stderr and n; the points of a curve in a run, in order of x.
        curve: (rows,) which curve a row is of: 0, 1, ...
        x: (rows,) place on the curve's axis.
        paired: (rows,) item variances that are known from pairs of checkpoints on the same items, NaN elsewhere.
        repeats: Whether a task's curves are the same models again, at another step.

    Returns:
        Variances in squared units of the value, as the module's docstring defines them.
    """
    value = rows["value"].to_numpy(dtype="float64")
    items, rough = _item_variance(rows, value, curve)
    if paired is not None:
        items = np.where(np.isnan(paired), items, paired)
    residual, inner = residuals(value, curve, x)
    total, df, sought = items.copy(), np.full(len(rows), np.inf), np.zeros(len(rows), dtype=bool)
    task = pd.factorize(rows["task"])[0]
    for code in range(task.max(initial=-1) + 1):
        own = task == code
        found = residual[own[inner]]
        places = x[inner[own[inner]]]
        if len(np.unique(places)) < FEWEST_MODELS - 2 if repeats else len(found) < FEWEST_RESIDUALS:
            continue
        sought[own] = True
        level, kept = robust_level(found)
        unknown = own & rough
        items[unknown] = total[unknown] = level
        df[unknown] = kept.sum() / 2
        extra = level - float(np.median(items[own]))
        if extra > 0 and np.isfinite(extra):
            total[own] += extra
            # Neighbouring residuals share points, which costs about half of the degrees of freedom.
            alike = _design_effect(found[kept], places[kept]) if repeats else 1.0
            df[own] = kept.sum() / alike / 2
    return Noise(items, total, df, sought, rough)


def _item_variance(
    rows: pd.DataFrame, value: Array, curve: np.ndarray[Any, Any]
) -> tuple[Array, np.ndarray[Any, np.dtype[np.bool_]]]:
    """Variances by item sampling, and for which of them roughness stands in."""
    given = rows["stderr"].to_numpy(dtype="float64")
    variance: Array = standard_errors(value, given, counted_items(rows)) ** 2
    lacking = np.isnan(variance)
    if lacking.any():
        step = pd.Series(np.diff(value, prepend=np.nan))
        step[np.diff(curve, prepend=-1) != 0] = np.nan
        variance[lacking] = (step.groupby(curve).transform("var").fillna(np.inf).to_numpy() / 2)[lacking]
    return variance, lacking


def _design_effect(residual: Array, place: Array) -> float:
    """How many residuals at one place say no more than one, 1 if they are independent."""
    sums = pd.Series(residual).groupby(place).sum().to_numpy()
    whole = float((residual**2).sum())
    return max(1.0, float((sums**2).sum()) / whole) if whole > 0 else 1.0


def robust_level(residual: Array) -> tuple[float, np.ndarray[Any, np.dtype[np.bool_]]]:
    """The variance of one point by some `residuals`, and (residuals,) which of them it is taken over."""
    scale = np.median(np.abs(residual)) / _MAD
    kept = np.abs(residual) <= _WITHIN * scale
    return float(np.mean(residual[kept] ** 2)) / _CUT, kept


def residuals(value: Array, curve: np.ndarray[Any, Any], x: Array) -> tuple[Array, np.ndarray[Any, Any]]:
    """Scaled distances from the line between a point's neighbours, and the rows of these points.

    Args:
        value: (rows,) the points of a curve in a run, in order of x.
        curve: (rows,) which curve each is of.
        x: (rows,) its place on the curve's axis.
    """
    inner = 1 + np.flatnonzero(curve[2:] == curve[:-2])
    inner = inner[x[inner + 1] > x[inner - 1]]
    before = (x[inner + 1] - x[inner]) / (x[inner + 1] - x[inner - 1])
    line = before * value[inner - 1] + (1 - before) * value[inner + 1]
    return (value[inner] - line) / np.sqrt(1 + before**2 + (1 - before) ** 2), inner
