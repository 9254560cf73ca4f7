"""What a watch prints: a block a checkpoint, a line for each task that fell, and a table of several runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from evalrun.commands.watch.alarm import Change, number
from evalrun.commands.watch.judge import Visit
from evalrun.commands.watch.watched_run import WatchedRun

MARK = "DROP"
_HEADS = ("run", "newest", "evaluated", "waiting", "failed", "last alarm")


def block(visit: Visit, alpha: float) -> list[str]:
    """Step and tokens, then each task's value and its changes; one that is a significant drop is marked.

    Args:
        visit: With its rows.
        alpha: The level of all looks together.
    """
    assert visit.rows is not None
    width = max((len(str(task)) for task in visit.rows["task"]), default=0)
    of_look = "" if not visit.look else f"; look {visit.look}, at level {visit.level:.2g} of {alpha:g}"
    lines = [f"{visit.cell.label}, {visit.cell.tokens:,} tokens{of_look}"]
    for row in visit.rows.to_dict("records"):
        mine = [change for change in visit.changes if change.task == row["task"]]
        parts = [f"{_signed(change)} from step {change.other_step} ({change.against})" for change in mine]
        mark = f"   {MARK}" if row["task"] in visit.fallen else ""
        lines.append(f"  {row['task']:<{width}}  {number(row['value']):>6}  {'   '.join(parts)}".rstrip() + mark)
    return lines


def table(runs: Mapping[str, WatchedRun]) -> list[str]:
    """How far each run is: its newest step, its checkpoints by what became of them, the last that fell.

    Args:
        runs: Folder -> what is in it.
    """
    rows = [_HEADS, *(_row(folder, run) for folder, run in runs.items())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
    lines = []
    for row in rows:
        cells = [f"{cell:<{width}}" if column in (0, 5) else f"{cell:>{width}}"
                 for column, (cell, width) in enumerate(zip(row, widths, strict=True))]  # fmt: skip
        lines.append("  ".join(cells).rstrip())
    return lines


def _row(folder: str, run: WatchedRun) -> tuple[str, ...]:
    seen = run.seen
    if seen is None:
        return folder, "-", "0", "0", "0", "nothing yet" if run.is_empty else "no run"
    steps = [*seen.ready, *seen.waiting]
    new = [step for step in run.new() if step not in run.failed]
    fell = [visit for visit in run.judged.values() if visit.fallen]
    last = max(fell, key=lambda visit: visit.step, default=None)
    said = "-" if last is None else f"step {last.step}: {', '.join(last.fallen)}"
    counts = len(run.keys), len(new) + len(seen.waiting), len(run.failed) + len(seen.refused)
    return folder, str(max(steps, default="-")), *map(str, counts), said


def loud(line: str) -> str:
    """A warning's line, in red where a terminal shows it."""
    said = f"WARNING {line}"
    return f"\x1b[1;31m{said}\x1b[0m" if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else said


def _signed(change: Change) -> str:
    return f"{number(change.difference, '+'):>6}"
