"""How far another seed of the same recipe would have lain: the variance of one run about the mean of its recipe.

Where a recipe has several runs, it is the variance between them at each point of training, pooled over recipes (the sum
of squares about each recipe's own mean by the degrees of freedom). With few runs a variance is small by chance as often
as not, so that a point's is taken as no less than the mean of it and its two neighbours: seeds that differ at one
checkpoint differ at the next.

Where each recipe has one run and no other seeds are known, what is left is each run's own wobble: how far its
checkpoints lie from the line between their neighbours (Gasser, Sroka & Jennen-Steinmetz 1986, Biometrika 73:625-633).
Bends count as wobble here, which is meant: runs of one recipe pass a bend sooner or later by their seed. What a seed
shifts for good is not in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evalrun.statistics.items.values import Floats

FEWEST_WOBBLES = 6  # residuals of both runs together, to tell how much they wobble


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
    return np.maximum(variance, near)


def wobble(axis: Floats, values: Floats) -> SeedNoise | None:
    """The variance of single checkpoints about the course of their runs; None of too few checkpoints.

    Args:
        axis: (points,) places along training, rising.
        values: (runs, points)
    """
    if values.shape[1] < 3 or (values.shape[1] - 2) * len(values) < FEWEST_WOBBLES:
        return None
    share = (axis[2:] - axis[1:-1]) / (axis[2:] - axis[:-2])
    line = share * values[:, :-2] + (1 - share) * values[:, 2:]
    squares = (values[:, 1:-1] - line) ** 2 / (1 + share**2 + (1 - share) ** 2)
    # Neighbouring residuals share points, which costs about half of the degrees of freedom.
    return SeedNoise(np.full(values.shape[1], squares.mean()), max(1, squares.size // 2))
