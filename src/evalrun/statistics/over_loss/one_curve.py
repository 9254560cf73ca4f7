"""One curve of loss for models of all sizes: a spline, what size adds to it, and where it leaves chance.

A cubic spline of the loss (knots at quantiles) is fitted to the rows of all models by least squares. It bends as the
values do, so that what is left over is not the misfit of a sigmoid. Two columns are added for size: log10(parameters)
times a weight that falls from 1 to 0 from the early to the late end of the losses that two sizes or more share, and the
reverse. Their coefficients are how far apart a tenfold of parameters lies at the same loss, early and late.

Checkpoints of one size may depend on each other in any way: errors are clustered by size (CR2, Bell & McCaffrey 2002),
with Satterthwaite's degrees of freedom, which hold for few sizes. So a size that lies off the curve by chance does not
count as a hundred checkpoints that do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.interpolate import BSpline
from scipy.special import stdtr, stdtrit

from evalrun.statistics.regression.clustered import FEWEST
from evalrun.statistics.regression.estimators import Fit, t_fit
from evalrun.statistics.regression.geometry import Array, Codes, Geometry

_ROWS_A_KNOT, _MOST_KNOTS = 12, 6
_FEWEST_ROWS = 12
_ENDS = (0.1, 0.9)  # quantiles of the shared losses, where the effect of size is told
_GRID = 64  # losses at which the curve is compared with its target
_MOST_DF = 1e6


@dataclass(frozen=True)
class TaskOverLoss:
    """One task's usable rows, as arrays (rows,)."""

    value: Array
    loss: Array
    size: Array  # log10 of the parameters
    error: Array  # of the loss; NaN where it is not known

    @property
    def clusters(self) -> Codes:
        """A number for each size."""
        return np.asarray(np.unique(self.size, return_inverse=True)[1], dtype=np.int64)

    def keep(self, rows: np.ndarray[Any, np.dtype[np.bool_]]) -> TaskOverLoss:
        """Only those rows."""
        return TaskOverLoss(self.value[rows], self.loss[rows], self.size[rows], self.error[rows])


@dataclass(frozen=True)
class SizeEffect:
    """What size adds to the curve: a tenfold of parameters at the same loss, early (high losses) and late."""

    estimate: Array  # (2,) early and late, in the metric's units
    low: Array  # (2,) of 1 - alpha each
    high: Array
    p: float  # that both are 0: twice the smaller of two (Bonferroni)
    p_small: float  # that one of them is as large as the margin, or larger: two one-sided tests, the worse of the two
    shared: tuple[float, float]  # losses that two sizes or more have
    bias: float  # of the larger effect, at most, by the error of the loss; NaN where that is not known
    note: str = ""


def spline(loss: Array, knots: Array) -> Array:
    """(rows, columns) the cubic B-splines of some knots; beyond the outer ones the curve is level."""
    return np.asarray(BSpline.design_matrix(np.clip(loss, knots[0], knots[-1]), knots, 3).toarray(), dtype="float64")


def knots_of(loss: Array) -> Array:
    """Knots at quantiles of the losses, the outer ones four times, as many as the rows bear."""
    inner = int(np.clip(len(loss) // _ROWS_A_KNOT - 1, 0, _MOST_KNOTS))
    between = np.quantile(loss, np.linspace(0, 1, inner + 2)[1:-1])
    low, high = float(loss.min()), float(loss.max())
    return np.concatenate([[low] * 4, np.unique(between[(between > low) & (between < high)]), [high] * 4])


def clustered(x: Array, y: Array, groups: Codes, contrasts: Array, alpha: float) -> Fit:
    """Least squares, and combinations of its coefficients with errors clustered by group (CR2).

    Args:
        x: (rows, columns) of full rank.
        y: (rows,) values.
        groups: (rows,) cluster of each row: 0, 1, ...
        contrasts: (asked, columns) what is asked about.
        alpha: Of the intervals.
    """
    geometry = Geometry(x, groups, len(contrasts), contrasts)
    beta = geometry.inverse @ (x.T @ y)
    scores = geometry.sums(geometry.reduced.weights, (y - x @ beta)[:, None])[:, :, 0]
    return t_fit(contrasts @ beta, np.sqrt((scores**2).sum(axis=0)), np.minimum(geometry.reduced.df, _MOST_DF), alpha)


def shared_losses(of: TaskOverLoss) -> tuple[float, float] | None:
    """The losses that two sizes or more have passed through: the lowest and the highest; None where there are none."""
    sizes = [of.loss[of.clusters == size] for size in range(int(of.clusters.max()) + 1)]
    if len(sizes) < 2:
        return None
    low = sorted(float(own.min()) for own in sizes)[1]
    high = sorted(float(own.max()) for own in sizes)[-2]
    return (low, high) if low < high else None


def size_effect(of: TaskOverLoss, margin: float, alpha: float) -> SizeEffect | str:
    """Test whether size tells more of a task than loss does.

    Args:
        of: The task's rows.
        margin: The smallest effect of interest of a tenfold of parameters, in units of the metric.
        alpha: Of the intervals.

    Returns:
        The effect; or why it cannot be tested.
    """
    shared = shared_losses(of)
    if shared is None:
        return "no two sizes have passed through the same losses"
    own = of.keep((of.loss >= shared[0]) & (of.loss <= shared[1]))
    sizes = len(np.unique(own.size))
    if sizes < FEWEST:
        return f"{sizes} size{'s' if sizes > 1 else ''} at losses that others have too: too few"
    if len(own.value) < _FEWEST_ROWS:
        return f"{len(own.value)} checkpoints at losses that others have too: too few"
    x, effects = _columns(own)
    if np.linalg.matrix_rank(x) < x.shape[1]:
        return "size and loss cannot be told apart"
    fit = clustered(x, own.value, own.clusters, effects, alpha)
    if not np.isfinite(fit.p).all():
        return next(note for note in (*fit.own_notes, "no standard error") if note)
    nearest = (margin - np.abs(fit.estimate)) / fit.stderr
    within = stdtr(fit.df, -nearest)
    p = min(1.0, 2 * float(fit.p.min()))
    return SizeEffect(fit.estimate, fit.low, fit.high, p, float(within.max()), shared, _bias(own))


def _columns(own: TaskOverLoss) -> tuple[Array, Array]:
    """The columns of the fit, and which of them are asked about: the size's, early and late."""
    late, early = np.quantile(own.loss, _ENDS)
    weight = (own.loss - late) / (early - late) if early > late else np.zeros(len(own.loss))
    size = own.size - own.size.mean()
    base = spline(own.loss, knots_of(own.loss))
    base = base[:, base.any(axis=0)]
    x = np.column_stack([size * weight, size * (1 - weight), base])
    return x, np.eye(2, x.shape[1])


def _bias(own: TaskOverLoss) -> float:
    """How far the effect of size may be off, at most, because losses are measured with an error.

    At one measured loss the true losses of two sizes lie nearer to their sizes' own means (regression to the mean), by
    1 - reliability; times the curve's slope that is a difference of values which size does not make.
    """
    if not np.isfinite(own.error).any():
        return float("nan")
    error = float(np.nanmean(own.error**2))
    groups = own.clusters
    means = np.array([own.loss[groups == size].mean() for size in range(int(groups.max()) + 1)])
    within = float(((own.loss - means[groups]) ** 2).mean())
    if within <= 0:
        return float("nan")
    line = np.polyfit(own.size, own.loss, 1)[0]
    slope = np.polyfit(own.loss, own.value, 1)[0]
    return float(abs(slope * min(1.0, error / within) * line))


@dataclass(frozen=True)
class Threshold:
    """The loss at which the curve leaves chance, and how far it goes from there."""

    loss: float  # NaN where it does not
    low: float  # of its interval; NaN where that is open, or there is none
    high: float
    rise: float  # from the highest loss to the lowest, in units of the metric
    rise_low: float
    rise_high: float
    note: str = ""


def threshold(of: TaskOverLoss, chance: float, margin: float, alpha: float) -> Threshold | str:
    """Where the curve of all sizes leaves chance by the smallest change of interest, coming from high losses.

    The interval holds the losses at which the curve, by its own error, may lie just there.

    Args:
        of: The task's rows.
        chance: What guessing gives; NaN where that is not known.
        margin: The smallest change of interest, in units of the metric.
        alpha: The interval is of 1 - alpha.

    Returns:
        The threshold; or why there is none.
    """
    sizes = len(np.unique(of.size))
    if sizes < FEWEST or len(of.value) < _FEWEST_ROWS:
        return f"{sizes} size{'s' if sizes > 1 else ''}, {len(of.value)} checkpoints: too few"
    knots = knots_of(of.loss)
    base = spline(of.loss, knots)
    used = base.any(axis=0)
    at = np.linspace(of.loss.max(), np.quantile(of.loss, 0.01), _GRID)  # the last per cent bears no curve of its own
    there = spline(at, knots)[:, used]
    fit = clustered(base[:, used], of.value, of.clusters, np.vstack([there, there[-1] - there[0]]), alpha)
    rise = float(fit.estimate[-1]), float(fit.low[-1]), float(fit.high[-1])
    away = fit.estimate[:-1] - chance
    beyond = np.abs(away) >= margin
    nowhere = np.nan, np.nan, np.nan
    if np.isnan(chance):
        return Threshold(*nowhere, *rise, "no chance level is known")
    if beyond[0]:
        return Threshold(*nowhere, *rise, "off chance at the highest loss already")
    if not beyond.any():
        return Threshold(*nowhere, *rise, "does not leave chance")
    first = int(np.argmax(beyond))
    target = chance + np.copysign(margin, away[first])
    found = float(np.interp(0, *_ascending(fit.estimate[first - 1 : first + 1] - target, at[first - 1 : first + 1])))
    reach = stdtrit(fit.df, 1 - alpha / 2)[:-1] * fit.stderr[:-1]
    may = np.abs(fit.estimate[:-1] - target) <= np.nan_to_num(reach)
    low, high = _around(may, at, first)
    return Threshold(found, low, high, *rise)


def _ascending(x: Array, y: Array) -> tuple[Array, Array]:
    order = np.argsort(x)
    return x[order], y[order]


def _around(may: np.ndarray[Any, np.dtype[np.bool_]], at: Array, first: int) -> tuple[float, float]:
    """The ends of the losses beside the crossing at which the curve may be at its target; NaN where it is open."""
    before, after = first - 1, first
    while before >= 0 and may[before]:
        before -= 1
    while after < len(at) and may[after]:
        after += 1
    return (float(at[after]) if after < len(at) else np.nan, float(at[before]) if before >= 0 else np.nan)
