"""What a plan can show: the smallest differences and effects that its analysis would detect.

Items of a task are known from an earlier run of it, from its local data file, or from what its task file says of the
data; nothing is downloaded for them.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from evalrun.commands.plan.inventory import Inventory
from evalrun.statistics.power import DISCORDANT, POWER, smallest_difference, smallest_slope
from evalrun.tasks import task_file
from evalrun.tasks.task_file import TaskFile
from evalrun.tracking import RunEntry

_COUNTS = ("acc", "acc_norm", "exact_match")  # metrics that are a share of items answered right
_SHOWN = 15  # tasks


@dataclass(frozen=True)
class TaskPower:
    """What a task can show."""

    task: str
    title: str
    items: int | None  # that would be scored; None: not known
    difference: float | None  # smallest difference of accuracy between two checkpoints; None where it is not known
    why: str  # it is not known; else ""


@dataclass(frozen=True)
class Power:
    """What a grid can show."""

    alpha: float
    power: float
    discordant: float  # share of items on which two checkpoints are taken to differ
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
    tasks = tuple(_task(file, found.past, config.limit, alpha / len(files)) for file in files)
    rows = {(job.cell.model, job.cell.seed, job.cell.step): job.cell for job in found.jobs if job.cell.tokens > 0}
    models, steps = {cell.model for cell in rows.values()}, {cell.step for cell in rows.values()}
    several = (len(models) > 1) + (len(steps) > 1)  # predictors; two have an interaction
    effects = len(files) * (several if several < 2 else 3)
    slope = slope_models = None
    if effects:
        slope = _known(smallest_slope(len(rows), 2**several, alpha / effects))
        slope_models = _known(smallest_slope(len(models), 2, alpha / effects))
    return Power(alpha, POWER, DISCORDANT, tasks, len(rows), len(models), effects, slope, slope_models)


def describe(power: Power) -> str:
    """For people: a line a task, then what it rests on and the regression."""
    head = f"What this grid can show, with {power.power:.0%} power at alpha {power.alpha:g}:"
    said = (
        f"A difference is between two checkpoints on the same items, by McNemar's test {_corrected(len(power.tasks))}, "
        f"if they disagree on {power.discordant:.0%} of the items."
    )
    if power.slope is not None:
        said += (
            f" The regression {_corrected(power.effects)} shows a standardised slope of {_slope(power.slope)}, if the "
            f"{power.checkpoints} checkpoints are independent"
        )
        if power.models > 1:
            said += f"; on model size {_slope(power.slope_models)}, if only its {power.models} models are"
        said += "."
    note = textwrap.fill(said, 100, initial_indent="  ", subsequent_indent="  ")
    return "\n".join([head, "", *_table(power.tasks), "", note])


def _table(tasks: Sequence[TaskPower]) -> list[str]:
    rows = [("task", "items", "smallest difference")]
    for task in tasks[:_SHOWN]:
        points = f"{100 * task.difference:.1f} points" if task.difference is not None else task.why
        rows.append((task.title, "unknown" if task.items is None else str(task.items), points))
    wide, narrow = (max(len(row[i]) for row in rows) for i in (0, 1))
    lines = [f"  {title.ljust(wide)}  {items.rjust(narrow)}  {points}" for title, items, points in rows]
    return lines if len(tasks) <= _SHOWN else [*lines, f"  ... and {len(tasks) - _SHOWN} more"]


def _slope(value: float | None) -> str:
    if value is None:
        return "none"
    return f"{value:.2f}" if value < 0.995 else "over 0.99"


def _corrected(tests: int) -> str:
    return f"(corrected for {tests} tests)" if tests > 1 else "(one test)"


def _task(file: TaskFile, past: Sequence[RunEntry], limit: int | None, alpha: float) -> TaskPower:
    """The smallest difference in accuracy that a task's items show, or why that is not known.

    Args:
        file: The task.
        past: Earlier runs, which know its number of items.
        limit: At most so many items are asked; None for all.
        alpha: Level of the two-sided test.
    """
    items = _items(file, past)
    if items is not None and limit:
        items = min(items, limit)
    difference, why = None, ""
    if not _counts(file.config):
        why = "unknown: its metric is no count of right answers"
    elif items is None:
        why = "unknown: its items are counted when its data is there"
    else:
        difference = _known(smallest_difference(items, alpha))
        why = "" if difference is not None else "none: too few items"
    return TaskPower(file.name, file.title, items, difference, why)


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
