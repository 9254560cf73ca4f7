"""Right and wrong over items and checkpoints as a small picture: items in the order in which they are learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from evalrun.statistics.dynamics.item_classes import Courses
from evalrun.statistics.dynamics.item_grid import ItemCurve, Singles
from evalrun.statistics.items.values import Floats

Places = np.ndarray[Any, np.dtype[np.intp]]
_ROWS = 240  # of a picture: more cannot be told apart


@dataclass(frozen=True)
class HeatMap:
    """The answers of one curve."""

    label: str
    tokens: Floats  # (checkpoints,)
    steps: Floats  # (checkpoints,)
    items: int
    shares: Singles  # (rows, checkpoints) share of right answers; a row is an item, or several neighbours in the order


def heat_map(curve: ItemCurve, courses: Courses) -> HeatMap:
    """Items in the order in which they are learned.

    Args:
        curve: Of `read_grid`.
        courses: Of the same curve.
    """
    items = curve.right.shape[1]
    right = np.nan_to_num(curve.right, nan=0.0)
    rows = min(items, _ROWS)
    starts = np.arange(rows) * items // rows
    ordered = right[:, order_of_learning(curve, courses)]
    shares = np.add.reduceat(ordered, starts, axis=1) / np.diff(np.append(starts, items))
    return HeatMap(curve.label, curve.tokens, curve.steps, items, shares.T.astype(np.float32))


def order_of_learning(curve: ItemCurve, courses: Courses) -> Places:
    """Items by their first known checkpoint, then their loss, then their right answers; those never known come last."""
    steps = len(curve.steps)
    gained = np.where(courses.gained < 0, steps, courses.gained)
    lasts = np.where(courses.lost < 0, steps, courses.lost)
    return np.lexsort((-np.nan_to_num(curve.right, nan=0.0).mean(axis=0), -lasts, gained))
