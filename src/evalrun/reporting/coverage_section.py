"""The report's table of coverage: how much of the grid each task has, tasks with the same gaps in one row."""

from __future__ import annotations

from typing import Any

import pandas as pd

from evalrun.core.text import listed
from evalrun.reporting.section_tables import Section, TableCell
from evalrun.statistics.coverage import DISPUTED, MISSING, SETTLED, THERE
from evalrun.statistics.findings import Findings

_MOST = 40  # rows in the page
_TITLES = 4  # of tasks with the same gaps


def coverage(study: Findings) -> Section:
    """Cells of the grid that are there, left out, missing, disputed and settled, task by task."""
    grid = ["runs", "steps", "cells", THERE, "left_out", MISSING, DISPUTED, SETTLED, "gaps"]
    found = study.coverage.tasks
    alike = [(own, own.iloc[0].to_dict()) for _, own in found.groupby(grid, sort=False)]
    alike.sort(key=lambda group: -(group[1]["cells"] - group[1][THERE]) - group[1][DISPUTED])
    rows = [_row(own, first, len(found)) for own, first in alike[:_MOST]]
    more = f"{_MOST} of {len(alike)} rows; all tasks are in tables/coverage.csv. " if len(alike) > _MOST else ""
    if len(study.coverage.cells):
        more += "Every cell that is not plainly there, with the reason, is in tables/coverage_cells.csv."
    return Section(
        "Coverage",
        "The grid of each task: training runs (a model, or a seed of it) by training steps. There: with a result that "
        "counts. Left out: with a result that is not used. Missing: without one. Disputed: with several results that "
        "contradict one another, of which the latest is used. Settled: not computed, because until=settled found the "
        "shape of the curve without it. Where nothing says which grid was asked for, it has the steps that more than "
        "half of the runs have, and for each run its own.",
        ["Task", "Runs × steps", "Cells", "There", "Left out", "Missing", "Disputed", "Settled", "Which"],
        rows,
        more.strip(),
    )


def _row(own: pd.DataFrame, first: dict[Any, Any], tasks: int) -> list[TableCell]:
    """The cells of a row.

    Args:
        own: Rows of `Coverage.tasks`, of tasks with the same gaps.
        first: The first of them.
        tasks: All that there are.
    """
    titles = [str(title) for title in own["title"]]
    every = f"all {tasks} tasks" if tasks > 1 and len(own) == tasks else listed(titles, _TITLES)
    counts = [
        TableCell(f"{first[name]:,}", "number") for name in ("cells", THERE, "left_out", MISSING, DISPUTED, SETTLED)
    ]
    named = TableCell(every, "", listed(titles))
    return [
        named,
        TableCell(f"{first['runs']} × {first['steps']}", "number"),
        *counts,
        TableCell(first["gaps"], "words"),
    ]
