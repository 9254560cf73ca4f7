"""Right and wrong over items and checkpoints as a small picture: items in the order in which they are learned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evalrun.statistics.dynamics.item_classes import Courses
from evalrun.statistics.dynamics.item_grid import ItemCurve, Singles
from evalrun.statistics.items.values import Floats

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
    """Items in the order of their first known checkpoint, then of their loss, then of their right answers.

    Items that were never known come last.

    Args:
        curve: Of `read_grid`.
        courses: Of the same curve.
    """
    steps, items = curve.right.shape
    right = np.nan_to_num(curve.right, nan=0.0)
    gained = np.where(courses.gained < 0, steps, courses.gained)
    lasts = np.where(courses.lost < 0, steps, courses.lost)
    order = np.lexsort((-right.mean(axis=0), -lasts, gained))
    rows = min(items, _ROWS)
    starts = np.arange(rows) * items // rows
    shares = np.add.reduceat(right[:, order], starts, axis=1) / np.diff(np.append(starts, items))
    return HeatMap(curve.label, curve.tokens, curve.steps, items, shares.T.astype(np.float32))
