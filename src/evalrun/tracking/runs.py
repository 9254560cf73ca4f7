"""Checkpoint runs: one flat MLflow run per checkpoint and settings, to which results are delivered once.

The order is what makes delivery safe to interrupt anywhere: artifacts, then metrics, then the tag that says the task is
there. Whatever a killed process leaves is completed by the next delivery, and nothing is counted before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from evalrun.core.errors import TrackingError
from evalrun.core.plain_names import slug
from evalrun.core.records import TaskResult
from evalrun.tracking import datasets, layout, run_files, run_making, run_values
from evalrun.tracking.connection import MlflowConnection
from evalrun.tracking.layout import Delivery, RunEntry, TaskEntry
from evalrun.tracking.sweep_tags import is_closed, new_tags, sweep_tags

_METRICS_A_BATCH = 900  # MLflow: 1000 metrics, 100 tags, 100 params; the rest is for what belongs to the run
_TASKS_A_BATCH = 40
_TRIES = 4  # of several processes that log the same, one gets through each time

Create = Callable[[MlflowConnection, Any, int, dict[str, str], str], Any]
"""Makes a run (connection, experiment, start, tags, name), or finds the one that another process made meanwhile."""


def deliver(
    link: MlflowConnection, results: Delivery, sweep: str | None, config_yaml: str | None, create: Create
) -> str:
    """File the results of one checkpoint; delivering the same again adds nothing, a later delivery replaces.

    Args:
        link: The store.
        results: Task results of one run key, with their files of items.
        sweep: The multirun that wanted them, or None.
        config_yaml: The resolved configuration, or None.
        create: How a run is made that is not there yet.

    Returns:
        The MLflow run's id.

    Raises:
        ValueError: the results do not belong together.
        StorageError: a file of items is missing or another.
    """
    newest = {result.task: (result, path) for result, path in sorted(results, key=lambda pair: pair[0].finished_ms)}
    wanted = list(newest.values())
    if not wanted or len({(result.run_key, result.cell) for result, _ in wanted}) > 1:
        raise ValueError("deliver() takes the results of one checkpoint: at least one, with equal run keys and cells")
    first = wanted[0][0]
    experiment = link.experiment(first.cell.suite, create=True, kind="checkpoints")
    opening = run_making.opening(first, run_making.known_sizes(experiment.tags))
    run = _find(link, experiment, first.run_key) or create(link, experiment, *opening)
    _same_checkpoint(link, run, first)
    run_id = str(run.info.run_id)
    fresh = [(result, path) for result, path in wanted if _is_news(result, layout.held(run.data.tags).get(result.task))]
    if fresh:
        _upload(link, run_id, fresh, config_yaml)
        for batch in _batches(fresh):
            run = _log_with_others(link, run, batch)
    close(link, run, sweep)
    return run_id


def mark(link: MlflowConnection, suite: str, run_key: str, sweep: str | None) -> None:
    """Note that a sweep wanted this run too, though it was done already (`Store.mark`)."""
    experiment = link.experiment(suite)
    run = None if experiment is None else _find(link, experiment, run_key)
    if run is not None:
        close(link, run, sweep)


def _find(link: MlflowConnection, experiment: Any, run_key: str) -> Any:
    """The run of this key, or None. Where a lost reply left twins, the one that holds most, then the oldest."""
    found = link.client.search_runs(
        [experiment.experiment_id], filter_string=f"tags.`{layout.KEY}` = '{run_key}'", max_results=100
    )
    return max(found, key=lambda run: (len(layout.held(run.data.tags)), -run.info.start_time), default=None)


def create_locked(link: MlflowConnection, experiment: Any, started: int, tags: dict[str, str], name: str) -> Any:
    """A new run for a key, unless another process made it meanwhile: the lock is beside the store's file."""
    with link.lock(f"runs-{slug(experiment.name)}"):
        return _find(link, experiment, tags[layout.KEY]) or link.client.create_run(
            experiment.experiment_id, start_time=started, tags=tags, run_name=name
        )


def _same_checkpoint(link: MlflowConnection, run: Any, result: TaskResult) -> None:
    """One key cannot be two checkpoints: equal weights under two names would overwrite each other."""
    there, ours = layout.cell_of(run.data.tags), result.cell
    if there is not None and (there.model, there.step, there.seed) != (ours.model, ours.step, ours.seed):
        raise TrackingError(
            f"the MLflow run '{run.info.run_name}' ({run.info.run_id}) at {link.shown} already holds these weights and "
            f"settings, so '{result.cell.label}' cannot be filed; if it was renamed, delete that run, else check that "
            "the two checkpoints really differ."
        )


def _is_news(result: TaskResult, there: TaskEntry | None) -> bool:
    """Whether the run lacks this result; an older copy of the same computation is no news."""
    return there is None or there.key != result.key or there.finished_ms < result.finished_ms


def _upload(link: MlflowConnection, run_id: str, fresh: Delivery, config_yaml: str | None) -> None:
    for result, path in fresh:
        if path is not None:
            run_files.check_items(result, path)
            run_files.upload(link, run_id, path, run_files.items_name(result))
        link.client.log_text(run_id, run_files.record_text(result), run_files.record_name(result))
    if config_yaml is not None:
        link.client.log_text(run_id, config_yaml, run_files.CONFIG)


def _batches(fresh: Delivery) -> Iterator[list[TaskResult]]:
    """Split so that each part fits one request: 900 metrics, 40 tasks with two tags each; items' paths are dropped."""
    batch: list[TaskResult] = []
    metrics = 0
    for result, _ in fresh:
        size = len(run_values.metrics_of(result))
        if batch and (metrics + size > _METRICS_A_BATCH or len(batch) == _TASKS_A_BATCH):
            yield batch
            batch, metrics = [], 0
        batch.append(result)
        metrics += size
    if batch:
        yield batch


def _log_with_others(link: MlflowConnection, run: Any, batch: Sequence[TaskResult]) -> Any:
    """`_log`, though another process may be logging the same: MLflow refuses a row that appears while it looks."""
    for tries_left in reversed(range(_TRIES)):
        try:
            _log(link, run, batch)
            break
        except MlflowException as error:
            if not tries_left or error.error_code not in ("BAD_REQUEST", "INVALID_PARAMETER_VALUE"):
                raise
        run = link.client.get_run(run.info.run_id)
    return link.client.get_run(run.info.run_id)


def _log(link: MlflowConnection, run: Any, batch: Sequence[TaskResult]) -> None:
    """One request for some tasks: metrics, params, and the tags last.

    MLflow's database store writes params, metrics and tags as three transactions in this order, so a kill in between
    leaves metrics without their tag, never a tag without its metrics.
    """
    values, tags = run_making.content(run.data.tags, run.data.metrics, batch)
    stamp = max(result.finished_ms for result in batch)
    metrics = _changes(link, run, values, stamp, batch[0].cell.step)
    params = [Param(k, v) for k, v in run_values.params_of(batch[0]).items() if k not in run.data.params]
    if used := datasets.inputs_of(batch):
        link.client.log_inputs(run.info.run_id, datasets=used)
    room = 1000 - len(tags) - len(params)
    # A single task may have more metrics than one request takes: all but the last part go ahead, without tags.
    ahead, last = metrics[:-room], metrics[-room:]
    for start in range(0, len(ahead), _METRICS_A_BATCH):
        link.client.log_batch(run.info.run_id, metrics=ahead[start : start + _METRICS_A_BATCH])
    link.client.log_batch(run.info.run_id, last, params, [RunTag(key, value) for key, value in tags.items()])


def _changes(link: MlflowConnection, run: Any, values: Mapping[str, float], stamp: int, step: int) -> list[Metric]:
    """The metrics that the run lacks or holds with another value.

    Stamped with the time when the result was computed, so that delivering twice writes the same row twice, which MLflow
    keeps once. It shows the value of the latest stamp: what replaces another value must be stamped later than that.
    """
    metrics = []
    for key, value in values.items():
        before = run.data.metrics.get(key)
        if before == value:
            continue
        when = stamp
        if before is not None:
            when = max(stamp, 1 + max(old.timestamp for old in link.client.get_metric_history(run.info.run_id, key)))
        metrics.append(Metric(key, value, when, step))
    return metrics


def sweep_marks(
    link: MlflowConnection, there: Mapping[str, RunEntry], run_keys: Iterable[str], sweep: str
) -> dict[str, dict[str, str]]:
    """Run id -> the tags that are new on runs that a sweep wanted; a run that was left open is closed at once."""
    new: dict[str, dict[str, str]] = {}
    for run in (there[key] for key in run_keys if key in there):
        if not is_closed(run):
            close(link, link.client.get_run(run.run_id), sweep)
        elif changed := new_tags(run, sweep):
            new[run.run_id] = changed
    return new


def set_tags(link: MlflowConnection, run_id: str, tags: Mapping[str, str]) -> None:
    """Set tags of a run in one request."""
    link.client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])


def close(link: MlflowConnection, run: Any, sweep: str | None) -> None:
    """Say that the run is complete and ended when its last result was computed; a killed process leaves it open."""
    end = max((entry.finished_ms for entry in layout.held(run.data.tags).values()), default=None)
    tags = sweep_tags(run.data.tags, sweep) | ({} if end is None else {layout.STATE: "complete"})
    new = [RunTag(key, value) for key, value in tags.items() if run.data.tags.get(key) != value]
    if new:
        link.client.log_batch(run.info.run_id, tags=new)
    if end is not None and (run.info.status != "FINISHED" or run.info.end_time != end):
        link.client.set_terminated(run.info.run_id, "FINISHED", end)
