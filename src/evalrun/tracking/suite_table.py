"""The tidy table of a suite: from the tags and metrics of its checkpoint runs, however a store gave them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from evalrun.core.columns import STAGE_COLUMNS, TABLE_COLUMNS
from evalrun.core.text_columns import TEXT
from evalrun.tracking import layout, run_notes, sweep_tags
from evalrun.tracking.run_content import RunContent
from evalrun.tracking.slugs import metric_key, stderr_key

_KNOWN = TABLE_COLUMNS | STAGE_COLUMNS
_TYPES = {name: TEXT if column.dtype == "str" else column.dtype for name, column in _KNOWN.items()}
_ORDER = ["n_params", "model", "seed", "step", "task", "metric", "finished_ms", "task_key", "run_id"]
_OF_RESULT = (  # the other columns are its checkpoint's
    *("task", "title", "cause", "role", "metric", "value", "stderr", "n", "chance", "primary", "higher_is_better"),
    *("disputed", "task_key", "finished_ms"),
)
_PLACE = ["model", "seed", "step", "task_key", "metric"]

Row = dict[str, Any]


@dataclass(frozen=True)
class SuiteTable:
    """All results of a suite, read once."""

    rows: pd.DataFrame  # of every run, twins too, in the table's order
    sweeps: Mapping[str, Sequence[str]] = field(default_factory=dict)  # run id -> the multiruns that wanted it
    bundles: Mapping[str, str] = field(default_factory=dict)  # run id -> the bundle that it came in
    tokenizers: Mapping[str, str] = field(default_factory=dict)  # run id -> digest of its tokenizer, where it is noted
    stamp: object = None  # of a file, before it was read: while it stays, nobody has written
    since: float = 0.0  # when reading began, by time.monotonic
    digest: str | None = None  # of all that it was made from; None where a store cannot be asked for it quickly

    def of(self, sweep: str | None = None) -> pd.DataFrame:
        """The tidy table, or that of the runs which a multirun wanted.

        Sorted by size, step and task; of several results of one kind the older first. A task key found on two runs is
        one result, the newest.
        """
        rows = self.rows
        if sweep is not None:
            rows = rows[[sweep in self.sweeps.get(run_id, ()) for run_id in rows["run_id"]]].reset_index(drop=True)
        again = rows.duplicated(_PLACE, keep="last")
        return rows[~again].reset_index(drop=True) if again.any() else rows  # a copy may be gigabytes


def suite_table(pages: Iterable[Sequence[RunContent]]) -> SuiteTable:
    """The table of checkpoint runs, which come some at a time: their rows take a tenth of what was read."""
    frames: list[pd.DataFrame] = []
    sweeps: dict[str, list[str]] = {}
    bundles: dict[str, str] = {}
    tokenizers: dict[str, str] = {}
    for page in pages:
        frames.append(_frame(page))
        sweeps |= {run.run_id: sweep_tags.sweeps_of(run.tags) for run in page}
        bundles |= {run.run_id: run_notes.bundle_of(run.tags) for run in page if layout.BUNDLE in run.tags}
        tokenizers |= {run.run_id: run.tags[layout.TOKENIZER] for run in page if layout.TOKENIZER in run.tags}
    rows = pd.concat(frames, ignore_index=True) if frames else _frame([])
    if "stage" in rows:  # what pretraining does not say, and pages without a later stage
        rows = rows.fillna({name: "" for name, column in STAGE_COLUMNS.items() if column.dtype == "str"})
    return SuiteTable(rows.sort_values(_ORDER, ignore_index=True), sweeps, bundles, tokenizers)


def _frame(runs: Sequence[RunContent]) -> pd.DataFrame:
    """The rows of some runs; none of one whose tags cannot be read.

    What is a checkpoint's own is made once for it, not once a row.
    """
    checkpoints: list[Row] = []
    scores: list[tuple[Any, ...]] = []
    rows_each: list[int] = []
    for run in runs:
        entries, cell = layout.held(run.tags), layout.cell_of(run.tags)
        if not entries or cell is None:
            continue
        before = len(scores)
        scores += _scores(run, entries)
        rows_each.append(len(scores) - before)
        own = {"flops": cell.flops, "weights": run.tags.get("evalrun.weights", ""), "run_id": run.run_id}
        checkpoints.append({**vars(cell), **own, "settings": run.tags.get(layout.SETTINGS, "")})
    stages = [*STAGE_COLUMNS] if any(one["stage"] is not None for one in checkpoints) else []
    of_checkpoint = [*(name for name in TABLE_COLUMNS if name not in _OF_RESULT), *stages]
    left = _typed({name: [one[name] for one in checkpoints] for name in of_checkpoint})
    right = _typed(dict(zip(_OF_RESULT, zip(*scores, strict=True) if scores else [()] * len(_OF_RESULT), strict=True)))
    left = left.take(np.repeat(np.arange(len(rows_each)), rows_each)).reset_index(drop=True)
    return pd.concat([left, right], axis=1)[[*TABLE_COLUMNS, *stages]]


def _typed(columns: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """Columns of their types; equal texts are one object, of which a million rows hold a pointer each."""
    known: dict[Any, Any] = {}
    typed = {}
    for name, values in columns.items():
        kind = _TYPES[name]
        each = [known.setdefault(value, value) for value in values] if kind is TEXT else list(values)
        typed[name] = pd.Series(each, dtype=kind)
    return pd.DataFrame(typed)


def _scores(run: RunContent, entries: Mapping[str, layout.TaskEntry]) -> Iterator[tuple[Any, ...]]:
    """What a run's rows say of its results, one a task and metric, in the order of `_OF_RESULT`.

    Only tasks whose key is on the run count: they are there completely, even if the run was killed later.
    """
    metrics = run.metrics
    for entry in entries.values():
        of_task = entry.task, entry.title, entry.cause, entry.role
        chance = math.nan if entry.chance is None else entry.chance
        for metric in [*entry.metrics, *entry.missing]:
            # What is not finite was not logged: missing stays missing.
            value = math.nan if metric in entry.missing else metrics.get(metric_key(metric, entry.task))
            if value is None:
                continue  # being written this moment: a server may read the metrics before and the tags after
            has_stderr = entry.metrics.get(metric, False)
            stderr = metrics.get(stderr_key(metric, entry.task), math.nan) if has_stderr else math.nan
            told = metric == entry.primary, entry.is_higher_better(metric), entry.disputed
            yield (*of_task, metric, value, stderr, entry.n, chance, *told, entry.key, entry.finished_ms)
