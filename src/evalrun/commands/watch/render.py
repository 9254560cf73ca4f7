"""What a watch prints: a block a checkpoint, and a line for each task that fell."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from evalrun.commands.watch.alarm import Change, number
from evalrun.core.records import Checkpoint

if TYPE_CHECKING:
    import pandas as pd

MARK = "DROP"


def block(cell: Checkpoint, rows: pd.DataFrame, changes: Sequence[Change]) -> list[str]:
    """Step and tokens, then each task's value and its changes; one that is a significant drop is marked.

    Args:
        cell: The checkpoint.
        rows: Of the tidy table: one a task.
        changes: As `alarm.changes` gives them.
    """
    width = max((len(str(task)) for task in rows["task"]), default=0)
    lines = [f"{cell.label}, {cell.tokens:,} tokens"]
    for row in rows.to_dict("records"):
        mine = [change for change in changes if change.task == row["task"]]
        parts = [f"{_signed(change)} from step {change.other_step} ({change.against})" for change in mine]
        mark = f"   {MARK}" if any(change.is_drop for change in mine) else ""
        lines.append(f"  {row['task']:<{width}}  {number(row['value']):>6}  {'   '.join(parts)}".rstrip() + mark)
    return lines


def warnings(changes: Sequence[Change]) -> list[str]:
    """One sentence for each significant drop."""
    return [change.sentence for change in changes if change.is_drop]


def loud(line: str) -> str:
    """A warning's line, in red where a terminal shows it."""
    said = f"WARNING {line}"
    return f"\x1b[1;31m{said}\x1b[0m" if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else said


def _signed(change: Change) -> str:
    return f"{number(change.difference, '+'):>6}"
