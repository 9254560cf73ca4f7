"""The end of a sweep at a glance: a curve for each task and model, in characters.

The numbers come from the journal, and from the store where that has more (`values`); `marks` makes a line of characters
of a curve, `table` puts them together.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from evalrun.commands.summary.curve_values import values
from evalrun.commands.summary.render import lines
from evalrun.core.console import columns
from evalrun.grid.planning import Plan

_WIDTH = 120  # where standard output is no terminal


def show(plan: Plan, folders: Sequence[Path]) -> None:
    """Print what a sweep has come to; nothing where there is no result yet.

    Args:
        plan: The sweep.
        folders: Of its jobs, in their order.
    """
    found = values(plan, folders)
    told = lines(found, columns(_WIDTH), sys.stdout.encoding or "ascii")
    if told:
        print("", *told, "", sep="\n", flush=True)
