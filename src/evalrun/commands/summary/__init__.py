"""The end of a sweep at a glance: a curve for each task and model, in characters.

The numbers come from the journal, and from the store where that has more (`values`); `marks` makes a line of characters
of a curve, `table` puts them together.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from evalrun.commands.summary.curve_values import values
from evalrun.commands.summary.render import lines
from evalrun.core.console import columns
from evalrun.grid.job_spec import JobSpec

_WIDTH = 120  # where standard output is no terminal


def show(jobs: Sequence[JobSpec], grid: Sequence[JobSpec]) -> None:
    """Print what a sweep has come to; nothing where there is no result yet.

    Args:
        jobs: Of the sweep, with what is known of them.
        grid: All that it would have without `until=`.
    """
    found = values(jobs, grid)
    told = lines(found, columns(_WIDTH), sys.stdout.encoding or "ascii")
    if told:
        print("", *told, "", sep="\n", flush=True)
