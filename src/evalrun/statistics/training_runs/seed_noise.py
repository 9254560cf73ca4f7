"""How far another seed of the same recipe would have lain: the variance of one run about the mean of its recipe.

Where a recipe has several runs, it is the variance between them at each point of training, pooled over recipes (the sum
of squares about each recipe's own mean by the degrees of freedom). With few runs a variance is small by chance as often
as not, so that a point's is taken as no less than the mean of it and its two neighbours: seeds that differ at one
checkpoint differ at the next.

Where each recipe has one run and no other seeds are known, what is left is each run's own wobble: how far its
checkpoints lie from the line between their neighbours (Gasser, Sroka & Jennen-Steinmetz 1986, Biometrika 73:625-633).
What a seed shifts for good, and that it learns the same sooner or later, does not show in one run. Both are assumed,
as conf/analysis says: a standard deviation of the lasting shift, and one of the time, which counts by how steep the
curve is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evalrun.statistics.items.values import Floats

FEWEST_WOBBLES = 6  # residuals of both runs together, to tell how much they wobble
MOST_DF = 40  # beyond, a variance is as good as known


@dataclass(frozen=True)
class SeedNoise:
    """Variance of one run about its recipe's mean, by its seed."""

    variance: Floats  # (points,) in squares of the metric's unit
    df: int  # of each of them


def between_seeds(groups: Sequence[Floats]) -> SeedNoise | None:
    """The variance between runs of one recipe, pooled over recipes; None where no recipe has two runs.

    Args:
        groups: Of each recipe the values of its runs, (runs, points); NaN at points that a run does not reach.
    """
    several = [values for values in groups if len(values) > 1]
    if not several:
        return None
    points = several[0].shape[1]
    squares, df = np.zeros(points), np.zeros(points)
    for values in several:
        known = np.isfinite(values).all(axis=0)
        squares[known] += ((values - values.mean(axis=0)) ** 2).sum(axis=0)[known]
        df[known] += len(values) - 1
    if not (df > 0).any():
        return None
    variance = np.divide(squares, df, out=np.full(points, np.nan), where=df > 0)
    variance = np.where(df > 0, variance, np.nanmean(variance))
    return SeedNoise(steadied(variance), int(df[df > 0].min()))


def steadied(variance: Floats) -> Floats:
    """(..., points) each variance, but no less than the mean of it and its neighbours."""
    padded = np.concatenate([variance[..., :1], variance, variance[..., -1:]], axis=-1)
    near = (padded[..., :-2] + padded[..., 1:-1] + padded[..., 2:]) / 3
    found: Floats = np.maximum(variance, near)
    return found


@dataclass(frozen=True)
class AssumedSeeds:
    """What another seed is taken to do where no seeds are known (conf/analysis)."""

    shift: float = 0.0  # standard deviation by which it shifts a curve for good, in the metric's unit
    timing: float = 0.0  # the same of when it learns, in doublings of the tokens


def assumed_noise(axis: Floats, tokens: Floats, values: Floats, items: Floats, taken: AssumedSeeds) -> SeedNoise | None:
    """The variance of one run about its recipe as far as its own wobble and what is assumed tell; None: too few points.

    Args:
        axis: (points,) places along training, rising.
        tokens: (points,) above 0.
        values: (runs, points)
        items: (points,) variances of the difference by items, which are known beside this.
        taken: What is assumed.
    """
    if values.shape[1] < 3 or (values.shape[1] - 2) * len(values) < FEWEST_WOBBLES:
        return None
    share = (axis[2:] - axis[1:-1]) / (axis[2:] - axis[:-2])
    line = share * values[:, :-2] + (1 - share) * values[:, 2:]
    squares = (values[:, 1:-1] - line) ** 2 / (1 + share**2 + (1 - share) ** 2)
    wobble = float(squares.mean())
    doublings = np.maximum(np.abs(np.diff(np.log2(tokens))), 1e-9)
    steep = np.concatenate([np.zeros(1), np.abs(np.diff(values, axis=1) / doublings).max(axis=0), np.zeros(1)])
    known = taken.shift**2 + (taken.timing * np.maximum(steep[:-1], steep[1:])) ** 2
    # Neighbouring residuals share points, which costs about half of the degrees of freedom; what is known beside the
    # wobble makes the whole surer (Satterthwaite 1946, Biometrics Bulletin 2:110-114).
    df = max(1, squares.size // 2)
    whole = wobble + known + items / 2
    return SeedNoise(wobble + known, int(df * float((whole / wobble).min()) ** 2) if wobble > 0 else MOST_DF)
