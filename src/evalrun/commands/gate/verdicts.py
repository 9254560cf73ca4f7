"""The verdict on each thing that a gate asks, by the interval of a change or of a value.

A task passes where the interval shows that what is allowed is not exceeded, breaches where it shows that it is, and is
undecided where it shows neither. Two errors are held at alpha over all tasks together:

- The gate passes, though some task fell by more than is allowed. All checks must pass for it, so each is tested at
  alpha (an intersection-union test, Berger 1982); the same where the reference is the best of k checkpoints: each of
  the k must be shown not to lie further above.
- Something is called a breach, though nothing fell by more. One of many suffices for that, so each is tested at alpha
  divided by the checks and by the k (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from scipy.special import ndtri

from evalrun.config.gate_thresholds import AT_LEAST, AT_MOST, IMPROVE, MARGIN, GateThreshold
from evalrun.statistics.items.non_inferiority import Bounds, change_bounds, value_bounds
from evalrun.statistics.power import POWER, smallest_margin, smallest_shown

if TYPE_CHECKING:
    from evalrun.statistics.items.clusters import Clusters
    from evalrun.statistics.items.values import Items

PASSES, BREACH, UNDECIDED, UNKNOWN = "passes", "breach", "undecided", "no verdict"
Row = Mapping[Any, Any]


@dataclass(frozen=True)
class GateReference:
    """A result that a task's is held against."""

    row: Row  # of the tidy table
    label: str  # of its checkpoint
    fewshot: int | None  # examples before each item


@dataclass(frozen=True)
class GateTask:
    """A task with what is asked of it."""

    name: str
    asked: Sequence[GateThreshold]
    row: Row | None  # of the tidy table; None: the checkpoint has no result of it
    fewshot: int | None
    references: Sequence[GateReference]
    lacks: str = ""  # what to do where a result is not there


@dataclass(frozen=True)
class BrokenItem:
    """An item that the checkpoint does worse than the reference."""

    doc_id: str
    before: float  # the metric
    after: float
    prompt: str  # cut short; empty where the data is not at hand
    answer_before: str
    answer_after: str


@dataclass(frozen=True)
class GateCheck:
    """One thing that a gate asks of one task, and the verdict; numbers are NaN where they are not known."""

    task: str
    title: str
    metric: str
    higher_is_better: bool
    threshold: GateThreshold
    reference: GateReference | None  # the one that decides; None for values
    searched: int  # references that were looked at
    bounds: Bounds
    verdict: str
    why: str  # there is none
    smallest_shown: float = math.nan  # worsening that would have been a breach with `power.POWER`
    smallest_margin: float = math.nan  # margin with which an unchanged checkpoint would have passed with it
    broken: tuple[BrokenItem, ...] = ()

    @property
    def is_of_change(self) -> bool:
        """Whether it is about a change, and not about a value."""
        return self.threshold.kind in (MARGIN, IMPROVE)


def judge(tasks: Sequence[GateTask], items: Items | None, clusters: Clusters | None, alpha: float) -> list[GateCheck]:
    """The verdict on everything that is asked.

    Args:
        tasks: What is asked, and the results.
        items: Gives per-item results; None where there are none.
        clusters: Gives the clusters of a task's items; None for items that were drawn one by one.
        alpha: See the module.

    Returns:
        In the order of the tasks and of what is asked of each.
    """
    checks = sum(len(task.asked) for task in tasks)
    return [
        _judged(task, threshold, items, clusters, alpha, alpha / checks) for task in tasks for threshold in task.asked
    ]


def _judged(
    task: GateTask,
    threshold: GateThreshold,
    items: Items | None,
    clusters: Clusters | None,
    alpha: float,
    breach: float,
) -> GateCheck:
    """The verdict on one thing.

    Args:
        task: The task.
        threshold: What is asked.
        items: Gives per-item results.
        clusters: Gives clusters of items.
        alpha: Of a pass.
        breach: Of a breach, before it is divided by the number of references.
    """
    row = task.row
    if row is None:
        return GateCheck(task.name, task.name, "", True, threshold, None, 0, Bounds(), UNKNOWN, task.lacks)
    higher, known = bool(row["higher_is_better"]), clusters(task.name) if clusters is not None else None
    check = GateCheck(
        *(task.name, str(row["title"]), str(row["metric"]), higher, threshold, None, 0, Bounds(), UNKNOWN, "")
    )
    if not math.isfinite(row["value"]):
        return replace(check, why=f"its value is {row['value']}, which is no finite number")
    if threshold.kind in (AT_LEAST, AT_MOST):
        if (threshold.kind == AT_LEAST) != higher:
            other = AT_MOST if threshold.kind == AT_LEAST else AT_LEAST
            better = "more" if higher else "less"
            return replace(check, why=f"of {check.metric} {better} is better: ask for {other}, not {threshold.kind}")
        levels = (alpha, breach) if higher else (breach, alpha)
        return _decided([replace(check, bounds=value_bounds(row, items, known, *levels))], threshold.value)
    fits = [one for one in task.references if one.fewshot == task.fewshot]
    if not fits:
        said = [f"{task.fewshot} and {one.fewshot} examples" for one in task.references[:1]]
        return replace(check, why=f"asked with {said[0]}" if said else task.lacks)
    each = breach / len(fits)
    levels = (alpha, each) if higher else (each, alpha)
    found = [
        replace(check, reference=one, searched=len(fits), bounds=change_bounds(one.row, row, items, known, *levels))
        for one in fits
    ]
    size = threshold.value if threshold.kind == IMPROVE else -threshold.value
    decided = _decided(found, size if higher else -size)
    return _with_power(decided, alpha, each) if threshold.kind == MARGIN else decided


def _decided(found: Sequence[GateCheck], limit: float) -> GateCheck:
    """The check against the reference that decides, with the verdict over all of them.

    Args:
        found: One a reference, with intervals.
        limit: Of the estimate, in the metric's units: what it must be shown not to lie beyond.
    """
    known = [one for one in found if not math.isnan(one.bounds.low + one.bounds.high)]
    if not known:
        return replace(found[0], why=found[0].bounds.note or "no interval")
    sign = 1 if known[0].higher_is_better else -1

    def ends(one: GateCheck) -> tuple[float, float]:
        return min(sign * one.bounds.low, sign * one.bounds.high), max(sign * one.bounds.low, sign * one.bounds.high)

    worst = min(known, key=lambda one: ends(one)[1])
    if ends(worst)[1] < sign * limit:
        return replace(worst, verdict=BREACH)
    hardest = min(known, key=lambda one: ends(one)[0])
    low, high = ends(hardest)
    passes = low > sign * limit or low == high == sign * limit
    return replace(hardest, verdict=PASSES if passes else UNDECIDED)


def _with_power(check: GateCheck, alpha: float, breach: float) -> GateCheck:
    """With what could have been seen, by the items and the discordance that there are, or by the standard error."""
    found, margin = check.bounds, check.threshold.value
    if found.is_share:
        discordant = max(found.fell + found.rose, 1.0) / found.n
        shown = smallest_shown(found.n, breach, discordant, margin) if margin < 1 else math.nan
        return replace(check, smallest_shown=shown, smallest_margin=smallest_margin(found.n, alpha, discordant))
    powered = float(ndtri(POWER))
    return replace(
        check,
        smallest_shown=margin + (powered - float(ndtri(breach))) * found.error,
        smallest_margin=(powered - float(ndtri(alpha))) * found.error,
    )


def failing(checks: Sequence[GateCheck], undecided: str) -> Iterator[GateCheck]:
    """The checks for which a gate does not pass; undecided: `fail` or `pass`."""
    for check in checks:
        if check.verdict in (BREACH, UNKNOWN) or (check.verdict == UNDECIDED and undecided == "fail"):
            yield check
