"""What counts as a change, and what makes a shape: the thresholds of conf/analysis, printed in the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from evalrun.statistics.shapes.noise import Array
from evalrun.statistics.shares import may_be_shares

if TYPE_CHECKING:  # the settings' shape alone, so that the analysis runs without the configuration's libraries
    from evalrun.config.schema import AnalysisConf


@dataclass(frozen=True)
class ShapeSettings:
    """The keys of conf/analysis that labels and falls obey; their meaning is written there."""

    axis: str
    alpha: float
    correction: str
    smallest_change: float
    move_share: float
    prevails: float
    late_from: float
    held_loss: float
    jump_within: float
    jump_share: float
    level_over: float

    @classmethod
    def of(cls, conf: AnalysisConf) -> ShapeSettings:
        """Those of a conf/analysis."""
        return cls(conf.axis, conf.alpha, conf.corrections[0], conf.smallest_change, **vars(conf.shapes))


def smallest_changes(rows: pd.DataFrame, smallest_change: float) -> Array:
    """The smallest change of interest at each row, in units of its metric.

    Of a share, such as an accuracy, it is `smallest_change` itself: 0.05 is five points. Of any other metric (a
    perplexity, a log-probability) it is that share of the task's median size: 0.05 of a perplexity of 20 is 1.

    Args:
        rows: Columns task, value and, where it is known, metric: bits per byte are no share, whatever their size.
        smallest_change: analysis.smallest_change.

    Returns:
        (rows,) in units of the value, never below 0.
    """
    value = rows["value"].astype("float64")
    task = rows["task"].to_numpy()
    share = pd.Series(may_be_shares(rows)).groupby(task).transform("all").to_numpy(dtype=bool)
    size = value.abs().groupby(task).transform("median").to_numpy(dtype="float64")
    return np.where(share, smallest_change, smallest_change * size)
