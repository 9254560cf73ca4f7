"""Did the newest checkpoint get worse? Each task against the checkpoint before it and against the best so far.

Both comparisons are paired by item (`items.paired`). The checkpoint before is known before anything is
looked at; the best of k earlier ones is a choice among k, and is paid for: its p-value is multiplied by k and its
interval covers with 1 - alpha / k (Bonferroni), which holds whichever of the k is looked at. The p-values of all tasks
and of both comparisons are then corrected together. Where the checkpoint before is the best, the two are one and
are said once; both tests count all the same.

The correction is over one checkpoint, and its level is not `alpha` but that look's part of it: a training has as many
looks as checkpoints, and one chance of a false alarm over all of them (`statistics.alpha_spending`). The parts are
counted in the store (`tracking.alarm_tags`). Intervals cover with 1 - alpha, each for itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from evalrun.statistics.items.clusters import Clusters
    from evalrun.statistics.items.values import Items

PREVIOUS, BEST, BOTH = "previous", "best", "previous and best"


@dataclass(frozen=True)
class Change:
    """One task of a checkpoint, held against an earlier checkpoint; numbers are NaN where they are not known."""

    task: str
    metric: str
    higher_is_better: bool
    against: str  # previous, best, or previous and best
    step: int  # of the new checkpoint
    other_step: int  # of the earlier one
    searched: int  # checkpoints that the earlier one was chosen from: 1 where it was not chosen
    before: float
    after: float
    difference: float  # after - before
    low: float  # interval of the difference, at level alpha / searched
    high: float
    n: int  # items
    p: float  # two-sided, already multiplied by `searched`
    q: float  # corrected over the tasks and comparisons of this checkpoint
    method: str
    note: str
    is_drop: bool  # significantly worse: q below the level of the look, in the metric's direction

    @property
    def sentence(self) -> str:
        """What fell, from where, how far and how surely: `step 4000: neqa fell from 0.610 (best of 3, ...`."""
        chosen = f"{self.against} of {self.searched}" if self.searched > 1 else self.against
        moved = "fell" if self.difference < 0 else "rose"
        reach = "" if math.isnan(self.low) else f" [{number(self.low, '+')}, {number(self.high, '+')}]"
        metric = "" if self.metric == "acc" else f" ({self.metric})"
        return (
            f"step {self.step}: {self.task}{metric} {moved} from {number(self.before)} ({chosen}, step "
            f"{self.other_step}) to {number(self.after)}: {number(self.difference, '+')}{reach}, q {_q(self.q)} on "
            f"{self.n} items"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is not known is null."""
        return {key: None if _is_unknown(value) else value for key, value in asdict(self).items()}


def changes(
    new: pd.DataFrame,
    earlier: pd.DataFrame,
    items: Items | None,
    correction: str = "fdr_bh",
    alpha: float = 0.05,
    draws: int = 9999,
    seed: int = 0,
    clusters: Clusters | None = None,
    level: float | None = None,
) -> list[Change]:
    """Compare a checkpoint with the one before it and with the best before it, task by task.

    Args:
        new: Rows of the tidy table, one a task: its primary metric.
        earlier: The same of the checkpoints before, one a task and step, scored in the same way.
        items: Gives per-item results; None where there are none.
        correction: Of the p-values, by statsmodels' name.
        alpha: Level of the intervals.
        draws: See `paired.paired`.
        seed: See there.
        clusters: Gives the clusters of a task's items; None for items that were drawn one by one.
        level: Of the alarm (by q): this look's part of alpha; None for alpha itself.

    Returns:
        One or two for each task of `new` that has an earlier result, in the order of `new`.
    """
    from evalrun.statistics.items.paired import compare_checkpoints, corrected

    found: list[Change] = []
    twice: list[float] = []  # of tasks whose checkpoint before is the best: the data said so, thus both tests count
    for place in range(len(new)):
        row = new.iloc[[place]]
        first = row.iloc[0]
        mine = earlier[(earlier["task"] == first["task"]) & (earlier["step"] < first["step"])].sort_values("step")
        for against, other, searched in _references(mine, bool(first["higher_is_better"])):
            covers = alpha / searched
            (said,) = compare_checkpoints(other, row, items, correction, covers, draws, seed, clusters).to_dict(
                "records"
            )
            found.append(_change(first, int(other["step"].iloc[0]), against, searched, said))
            if against == BOTH and len(mine) > 1:
                twice.append(min(1.0, found[-1].p * len(mine)))
    q = corrected(np.array([*(change.p for change in found), *twice], dtype="float64"), correction)[: len(found)]
    return [
        replace(change, q=float(value), is_drop=bool(value < (alpha if level is None else level)) and _is_worse(change))
        for change, value in zip(found, q, strict=True)
    ]


def number(value: float, sign: str = "") -> str:
    """A value as short as it can be read."""
    return "-" if math.isnan(value) else f"{value:{sign}.3f}" if abs(value) < 10 else f"{value:{sign}.4g}"


def _references(earlier: pd.DataFrame, higher: bool) -> Iterator[tuple[str, pd.DataFrame, int]]:
    """What to compare with: name, the one row of it, and how many it was chosen from."""
    if earlier.empty:
        return
    previous = earlier.iloc[[-1]]
    values = earlier["value"].to_numpy(dtype="float64") * (1 if higher else -1)
    known = int(np.isfinite(values).sum())
    best = earlier.iloc[[len(values) - 1 - int(np.argmax(np.nan_to_num(values[::-1], nan=-np.inf)))]] if known else None
    if best is None or int(best["step"].iloc[0]) == int(previous["step"].iloc[0]):
        yield (PREVIOUS if best is None else BOTH), previous, 1
        return
    yield PREVIOUS, previous, 1
    yield BEST, best, known


def _change(row: Any, other_step: int, against: str, searched: int, said: Mapping[Any, Any]) -> Change:
    """A test as a change; its p is multiplied by the number of steps that were searched (Bonferroni), q comes later.

    Args:
        row: Of the newest checkpoint, from the tidy table.
        other_step: The checkpoint that it is compared with.
        against: Which that is: the one before, or the best.
        searched: Among how many it was chosen.
        said: The row of `compare_checkpoints`.
    """
    return Change(
        task=str(row["task"]),
        metric=str(row["metric"]),
        higher_is_better=bool(row["higher_is_better"]),
        against=against,
        step=int(row["step"]),
        other_step=other_step,
        searched=searched,
        **{name: float(said[name]) for name in ("before", "after", "difference", "low", "high")},
        n=int(said["n"]),
        p=min(1.0, float(said["p"]) * searched) if math.isfinite(said["p"]) else math.nan,
        q=math.nan,
        method=str(said["method"]),
        note=str(said["note"]),
        is_drop=False,
    )


def _is_worse(change: Change) -> bool:
    return change.difference != 0 and (change.difference < 0) == change.higher_is_better


def _is_unknown(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _q(q: float) -> str:
    return "< .001" if q < 0.0005 else f"= {q:.3f}".replace("0.", ".", 1)
