"""Reading back: every metric of every task of every checkpoint run of a suite, from MLflow alone."""

from __future__ import annotations

import contextlib
import gc
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pandas as pd
from mlflow.entities import ViewType

from evalrun.core.columns import TABLE_COLUMNS
from evalrun.tracking import layout
from evalrun.tracking.connection import MlflowConnection
from evalrun.tracking.slugs import metric_key, stderr_key

_TYPES = {name: column.dtype for name, column in TABLE_COLUMNS.items()}
_PAGE = 1000

Row = dict[str, Any]


def suites(link: MlflowConnection) -> list[str]:
    """The suites that have checkpoint runs, sorted (`Store.suites`)."""
    wanted = f"tags.`{layout.KIND}` = 'checkpoints'"
    found = link.client.search_experiments(filter_string=wanted)
    if not found:
        for gone in link.client.search_experiments(view_type=ViewType.DELETED_ONLY, filter_string=wanted):
            raise link.deleted(gone.name, gone.experiment_id)
    return sorted(
        experiment.name
        for experiment in found
        if link.client.search_runs(
            [experiment.experiment_id], filter_string=f"tags.`{layout.KIND}` = 'checkpoint'", max_results=1
        )
    )


def latest(link: MlflowConnection, suite: str) -> int:
    """When the newest result of a suite was computed, Unix time in milliseconds; 0 where there is none."""
    newest = link.client.search_runs(
        [link.experiment(suite).experiment_id],
        filter_string=f"tags.`{layout.KIND}` = 'checkpoint'",
        order_by=["attributes.end_time DESC"],
        max_results=1,
    )
    return int(newest[0].info.end_time or 0) if newest else 0


def frame(rows: Sequence[Row]) -> pd.DataFrame:
    """The tidy table, sorted by size, step and task; of several results of one kind the older first."""
    table = pd.DataFrame(list(rows), columns=list(TABLE_COLUMNS)).astype(_TYPES)
    order = ["n_params", "model", "seed", "step", "task", "metric", "finished_ms", "task_key"]
    return table.sort_values(order, ignore_index=True)


def read(link: MlflowConnection, suite: str, sweep: str | None = None) -> list[Row]:
    """The rows of a suite's table.

    Only tasks whose key is on the run count: they are there completely, even if the run was killed later. One task key
    found on two runs is one result.
    """
    experiment = link.experiment(suite)
    if experiment is None:
        return []
    rows: dict[tuple[Any, ...], Row] = {}
    for run in search(link, experiment.experiment_id, "checkpoint"):
        if sweep is not None and sweep not in layout.sweeps_of(run.data.tags):
            continue
        for row in _rows_of(run):
            place = tuple(row[name] for name in ("model", "seed", "step", "task_key", "metric"))
            known = rows.setdefault(place, row)
            if (row["finished_ms"], row["run_id"]) > (known["finished_ms"], known["run_id"]):
                rows[place] = row
    return list(rows.values())


def of_runs(link: MlflowConnection, run_ids: Iterable[str]) -> list[Row]:
    """The rows of some runs."""
    return [row for run_id in run_ids for row in _rows_of(link.client.get_run(run_id))]


def search(link: MlflowConnection, experiment_id: str, kind: str, run_key: str | None = None) -> Iterator[Any]:
    """All runs of a kind, or those of one key, page by page."""
    wanted = f"tags.`{layout.KIND}` = '{kind}'" + (f" AND tags.`{layout.KEY}` = '{run_key}'" if run_key else "")
    token: str | None = None
    while True:
        with _without_garbage_collection():
            page = link.client.search_runs([experiment_id], filter_string=wanted, max_results=_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Halve the time of a page: MLflow makes an object of each metric and tag, and many set off a search."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _rows_of(run: Any) -> Iterator[Row]:
    """The rows of one run, one a task and metric; none where its tags cannot be read."""
    tags, metrics = run.data.tags, run.data.metrics
    entries = layout.held(tags)
    cell = layout.cell_of(tags)
    if not entries or cell is None:
        return
    checkpoint = {name: value for name, value in vars(cell).items() if name in TABLE_COLUMNS} | {
        "flops": cell.flops,
        "weights": tags.get("evalrun.weights", ""),
        "run_id": run.info.run_id,
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
