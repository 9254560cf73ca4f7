"""What a plan can show: the smallest falls and effects that its analysis would find, by q.

Items of a task are known from an earlier run of it, from its local data file, or from what its task file says of the
data; nothing is downloaded for them.
"""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from evalrun.commands.plan.inventory import Inventory
from evalrun.core.text import counted
from evalrun.statistics.power import AGREEMENTS, POWER, level_of, smallest_fall, smallest_slope
from evalrun.tasks import task_file
from evalrun.tasks.task_file import TaskFile
from evalrun.tracking import RunEntry

_COUNTS = ("acc", "acc_norm", "exact_match")  # metrics that are a share of items answered right
_SHOWN = 15  # tasks


@dataclass(frozen=True)
class DetectableFall:
    """The smallest fall of accuracy between two checkpoints of a curve that the study's items show."""

    agreement: float  # share of the items that the two answer alike
    alone: float | None  # if no other curve of the study moves; None: not even the largest that this agreement allows
    among_many: float | None  # if half of the curves move


@dataclass(frozen=True)
class TaskPower:
    """What a task can show."""

    task: str
    title: str
    items: int | None  # that would be scored; None: not known
    falls: tuple[DetectableFall, ...]  # one an agreement; none where they are not known
    why: str  # they are not known; else ""


@dataclass(frozen=True)
class Power:
    """What a grid can show."""

    alpha: float
    power: float
    correction: str  # of p to q
    curves: int  # of all tasks, over training
    comparisons: int  # within the longest curve: its pairs of checkpoints and its trend
    smallest_change: float  # of accuracy, below which no fall counts
    tasks: tuple[TaskPower, ...]
    checkpoints: int  # with tokens, as many as the regression of a task has rows
    models: int
    effects: int  # tests of the regressions of all tasks
    slope: float | None  # smallest standardised slope, if checkpoints were independent
    slope_models: float | None  # the same of model size, with one value for each model

    def to_json(self) -> dict[str, Any]:
        """A plain dict for JSON."""
        return asdict(self)


def power_of(found: Inventory) -> Power:
    """What a plan can show, at the level of its analysis."""
    config = found.jobs[0].config
    files = task_file.resolve_for(config)
    alpha = config.analysis.alpha
    correction = config.analysis.corrections[0]
    rows = {(job.cell.model, job.cell.seed, job.cell.step): job.cell for job in found.jobs if job.cell.tokens > 0}
    runs = Counter((model, seed) for model, seed, _ in rows)
    curves, longest = len(files) * sum(many > 1 for many in runs.values()), max(runs.values(), default=0)
    comparisons = longest * (longest - 1) // 2 + 1
    movers = (1, max(1, curves // 2)) if curves else ()
    levels = [level_of(alpha, curves, many, correction) / comparisons for many in movers]
    tasks = tuple(_task(file, found.past, config.limit, levels) for file in files)
    models, steps = {cell.model for cell in rows.values()}, {cell.step for cell in rows.values()}
    several = (len(models) > 1) + (len(steps) > 1)  # predictors; two have an interaction
    effects = len(files) * (several if several < 2 else 3)
    slope = slope_models = None
    if effects:
        slope = _known(smallest_slope(len(rows), 2**several, level_of(alpha, effects, 1, correction)))
        slope_models = _known(smallest_slope(len(models), 2, level_of(alpha, effects, 1, correction)))
    return Power(
        alpha,
        POWER,
        correction,
        curves,
        comparisons,
        config.analysis.smallest_change,
        tasks,
        len(rows),
        len(models),
        effects,
        slope,
        slope_models,
    )


def describe(power: Power) -> str:
    """For people: a line a task, then what it rests on and the regression."""
    head = f"What this grid can show, with {power.power:.0%} power at q < {power.alpha:g}:"
    said = []
    if power.curves:
        said.append(
            f"A fall is between two checkpoints of a curve on the same items, by McNemar's test, corrected for the "
            f"{counted(power.comparisons, 'comparison')} within the curve and ({power.correction}) over "
            f"{counted(power.curves, 'curve')}, if no other curve moves; in brackets if half of them do. -: not found, "
            f"even if all items that are not answered alike fall. No fall below {100 * power.smallest_change:g} points "
            "counts (analysis.smallest_change); noise of training comes on top."
        )
    if power.slope is not None:
        slope = (
            f"The regression shows one effect alone of {power.effects} ({power.correction}) at a standardised slope of "
            f"{_slope(power.slope)}, if the {power.checkpoints} checkpoints are independent, as OLS takes them"
        )
        if power.models > 1:
            slope += f"; on model size {_slope(power.slope_models)}, if only its {power.models} models are, as by CR2"
        said.append(slope + ".")
    notes = [textwrap.fill(text, 100, initial_indent="  ", subsequent_indent="  ") for text in said]
    return "\n".join([head, "", *_table(power.tasks), "", *notes]).rstrip()


def _table(tasks: Sequence[TaskPower]) -> list[str]:
    """A line a task: its items, and the smallest fall in points at each agreement."""
    heads = ("task", "items", *(f"{agreement:.0%} alike" for agreement in AGREEMENTS))
    rows = [heads]
    for task in tasks[:_SHOWN]:
        items = "unknown" if task.items is None else str(task.items)
        rows.append((task.title, items, *(_points(fall) for fall in task.falls)))
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(len(heads))]
    lines = [f"  {''.ljust(widths[0])}  {''.ljust(widths[1])}  smallest fall in points, by items answered alike"]
    for row, why in zip(rows, ["", *(task.why for task in tasks[:_SHOWN])], strict=True):
        numbers = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=False)]
        cells = [row[0].ljust(widths[0]), *numbers]
        lines.append("  " + "  ".join([*cells, why] if why else cells))
    return lines if len(tasks) <= _SHOWN else [*lines, f"  ... and {len(tasks) - _SHOWN} more"]


def _points(fall: DetectableFall) -> str:
    """`4.5 (3.9)`: alone, and among many."""
    alone, many = ("-" if value is None else f"{100 * value:.1f}" for value in (fall.alone, fall.among_many))
    return "-" if fall.among_many is None else f"{alone} ({many})"


def _slope(value: float | None) -> str:
    if value is None:
        return "none"
    return f"{value:.2f}" if value < 0.995 else "over 0.99"


def _task(file: TaskFile, past: Sequence[RunEntry], limit: int | None, levels: Sequence[float]) -> TaskPower:
    """The smallest falls of accuracy that a task's items show, or why these are not known.

    Args:
        file: The task.
        past: Earlier runs, which know its number of items.
        limit: At most so many items are asked; None for all.
        levels: Of the two-sided test of one pair, if no other curve moves and if half of them do; none without curves.
    """
    items = _items(file, past)
    if items is not None and limit:
        items = min(items, limit)
    falls: tuple[DetectableFall, ...] = ()
    why = ""
    if not _counts(file.config):
        why = "unknown: its metric is no count of right answers"
    elif items is None:
        why = "unknown: its items are counted when its data is there"
    elif levels:
        alone, among = levels
        falls = tuple(
            DetectableFall(a, _known(smallest_fall(items, alone, a)), _known(smallest_fall(items, among, a)))
            for a in AGREEMENTS
        )
        if all(fall.among_many is None for fall in falls):
            falls, why = (), "none: too few items"
    else:
        why = "none: no curve over training"
    return TaskPower(file.name, file.title, items, falls, why)


def _items(file: TaskFile, past: Sequence[RunEntry]) -> int | None:
    runs = [run for run in past if file.name in run.tasks and "limit" not in run.settings.split()]
    if runs:
        return runs[-1].entries[file.name].n or None
    if len(file.data_files) == 1 and file.data_files[0].suffix == ".jsonl" and not file.config.get("process_docs"):
        with file.data_files[0].open("rb") as lines:
            return sum(1 for line in lines if line.strip())
    rows = file.metadata.get("rows")
    return rows if isinstance(rows, int) and rows > 0 else None


def _counts(config: Mapping[str, Any]) -> bool:
    """Whether the metric that the analysis uses is a share of items answered right."""
    if config.get("process_results"):
        return False
    metrics = config.get("metric_list") or [{"metric": "acc"}]
    names = [str(entry.get("metric")) for entry in metrics]
    return "acc" in names or names[0] in _COUNTS


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
