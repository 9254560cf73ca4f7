"""Where along training two groups of runs can be compared: points that all of them passed.

Runs are saved at steps of their own. The points are the checkpoints of the run that has fewest within the range that
all runs cover; of each other run the checkpoint there, or where it has none the line between the two around it. What is
interpolated is the metric of each item and of the whole alike, which is linear in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evalrun.statistics.items.values import Floats

SAME_PLACE = 0.001  # relative difference within which two checkpoints are at one place
Whole = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class OnPoints:
    """How the values of one run at some points follow from its checkpoints."""

    below: Whole  # (points,) which checkpoint; -1 where the run does not reach the point
    above: Whole  # (points,) the next one; `below` where the checkpoint is at the point
    share: Floats  # (points,) of the second

    @property
    def is_between(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """(points,) whether a value is interpolated."""
        return np.asarray(self.below != self.above)

    def of(self, values: Floats) -> Floats:
        """(..., points) from values (..., checkpoints); NaN where the run does not reach."""
        found = (1 - self.share) * values[..., self.below] + self.share * values[..., self.above]
        return np.where(self.below < 0, np.nan, found)


def common_points(axes: Sequence[Floats]) -> Floats:
    """The places along training at which runs are compared, rising; fewer than two where they have no range in common.

    Args:
        axes: Of each run the places of its checkpoints, rising: log10 of tokens or FLOPs, or of one over the loss.
    """
    slack = np.log10(1 + SAME_PLACE)
    low, high = max(axis[0] for axis in axes) - slack, min(axis[-1] for axis in axes) + slack
    inside = [axis[(axis >= low) & (axis <= high)] for axis in axes]
    return min(inside, key=len)


def on_points(axis: Floats, points: Floats) -> OnPoints:
    """Which checkpoints of a run give its value at each point.

    Args:
        axis: (checkpoints,) as in `common_points`, rising.
        points: (points,) on the same axis.
    """
    slack = np.log10(1 + SAME_PLACE)
    nearest = np.abs(axis[:, None] - points).argmin(axis=0)
    is_there = np.abs(axis[nearest] - points) <= slack
    above = np.clip(np.searchsorted(axis, points), 1, max(1, len(axis) - 1))
    below = above - 1
    above = np.minimum(above, len(axis) - 1)
    gap = np.where(above > below, axis[above] - axis[below], 1.0)
    share = np.where(is_there, 0.0, (points - axis[below]) / gap)
    reached = is_there | ((points > axis[0]) & (points < axis[-1]))
    first = np.where(is_there, nearest, np.where(reached, below, -1))
    return OnPoints(first, np.where(is_there | ~reached, first, above), np.where(reached, share, 0.0))
