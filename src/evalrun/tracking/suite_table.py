"""The tidy table of a suite: from the tags and metrics of its checkpoint runs, however a store gave them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from evalrun.core.columns import TABLE_COLUMNS
from evalrun.tracking import layout, sweep_tags
from evalrun.tracking.run_content import RunContent
from evalrun.tracking.slugs import metric_key, stderr_key

_TYPES = {name: column.dtype for name, column in TABLE_COLUMNS.items()}
_ORDER = ["n_params", "model", "seed", "step", "task", "metric", "finished_ms", "task_key", "run_id"]
_PLACE = ["model", "seed", "step", "task_key", "metric"]

Row = dict[str, Any]


@dataclass(frozen=True)
class SuiteTable:
    """All results of a suite, read once."""

    rows: pd.DataFrame  # of every run, twins too, in the table's order
    sweeps: Mapping[str, Sequence[str]] = field(default_factory=dict)  # run id -> the multiruns that wanted it
    stamp: object = None  # of a file, before it was read: while it stays, nobody has written
    digest: str | None = None  # of all that it was made from; None where a store cannot be asked for it quickly

    def of(self, sweep: str | None = None) -> pd.DataFrame:
        """The tidy table, or that of the runs which a multirun wanted.

        Sorted by size, step and task; of several results of one kind the older first. A task key found on two runs is
        one result, the newest.
        """
        rows = self.rows
        if sweep is not None:
            rows = rows[[sweep in self.sweeps.get(run_id, ()) for run_id in rows["run_id"]]]
        return rows.drop_duplicates(_PLACE, keep="last", ignore_index=True)


def suite_table(pages: Iterable[Sequence[RunContent]]) -> SuiteTable:
    """The table of checkpoint runs, which come some at a time: their rows take a tenth of what was read."""
    frames: list[pd.DataFrame] = []
    sweeps: dict[str, list[str]] = {}
    for page in pages:
        frames.append(_frame([row for run in page for row in rows_of(run)]))
        sweeps |= {run.run_id: sweep_tags.sweeps_of(run.tags) for run in page}
    rows = pd.concat(frames, ignore_index=True) if frames else _frame([])
    return SuiteTable(rows.sort_values(_ORDER, ignore_index=True), sweeps)


def _frame(rows: Sequence[Row]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=list(TABLE_COLUMNS)).astype(_TYPES)


def rows_of(run: RunContent) -> Iterator[Row]:
    """The rows of one run, one a task and metric; none where its tags cannot be read.

    Only tasks whose key is on the run count: they are there completely, even if the run was killed later.
    """
    tags, metrics = run.tags, run.metrics
    entries = layout.held(tags)
    cell = layout.cell_of(tags)
    if not entries or cell is None:
        return
    checkpoint = {name: value for name, value in vars(cell).items() if name in TABLE_COLUMNS} | {
        "flops": cell.flops,
        "weights": tags.get("evalrun.weights", ""),
        "run_id": run.run_id,
        "settings": tags.get(layout.SETTINGS, ""),
    }
    for entry in entries.values():
        for metric in [*entry.metrics, *entry.missing]:
            # What is not finite was not logged: missing stays missing.
            value = math.nan if metric in entry.missing else metrics.get(metric_key(metric, entry.task))
            if value is None:
                continue  # being written this moment: a server may read the metrics before and the tags after
            has_stderr = entry.metrics.get(metric, False)
            yield checkpoint | {
                "task": entry.task,
                "title": entry.title,
                "cause": entry.cause,
                "role": entry.role,
                "metric": metric,
                "value": value,
                "stderr": metrics.get(stderr_key(metric, entry.task), math.nan) if has_stderr else math.nan,
                "n": entry.n,
                "chance": math.nan if entry.chance is None else entry.chance,
                "primary": metric == entry.primary,
                "higher_is_better": entry.is_higher_better(metric),
                "disputed": entry.disputed,
                "task_key": entry.key,
                "finished_ms": entry.finished_ms,
            }
