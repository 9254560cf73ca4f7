"""What a sweep's jobs have come to: from the journal, and from the store where another machine computed the results."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from evalrun import progress
from evalrun.commands.summary.group_values import Value, group_values, outline
from evalrun.core.errors import TrackingError
from evalrun.core.task_group import tasks_of
from evalrun.grid.job_spec import JobSpec
from evalrun.journal import result_files
from evalrun.progress import JobProgress
from evalrun.tasks.group_tree import task_groups
from evalrun.tracking import Store


@dataclass(frozen=True)
class TaskCurve:
    """A task, or the mean of a group, over the steps of one model, in the order of training; NaN is no result."""

    task: str
    model: str  # with what else tells its jobs from others of the model
    metric: str
    values: tuple[float, ...]
    seeds: int = 1  # training seeds that a value is the mean of, at most
    depth: int = 0  # groups that it is below
    tasks: int = 1  # of a group


def values(jobs: Sequence[JobSpec], grid: Sequence[JobSpec]) -> list[TaskCurve]:
    """The curves of a sweep that have any result, those of groups before what they hold; seeds are averaged.

    Args:
        jobs: Of the sweep, with what is known of them.
        grid: All that it would have without `until=`: every curve of a model has the same steps.
    """
    store = Store(jobs[0].config.tracking)
    held, _ = progress.runs_of(store, {job.cell.suite for job in jobs})
    entries = progress.of(jobs, held)
    found = [_journalled(entry) for entry in entries]
    lacking = {
        entry.keys[task]: (i, task) for i, entry in enumerate(entries) for task in entry.keys
        if task not in found[i] and task not in entry.missing
    }  # fmt: skip
    for key, value in _filed(store, {jobs[i].cell.suite for i, _ in lacking.values()}, lacking):
        i, task = lacking[key]
        found[i][task] = value
    groups = task_groups(dict.fromkeys(task for job in jobs for task in job.config.tasks))
    rows = outline(dict.fromkeys(task for entry in entries for task in entry.tasks), groups)
    several = _several(jobs)
    steps: dict[str, list[int]] = {}
    for model, step in sorted({(job.cell.model, job.cell.step) for job in (*jobs, *grid)}):
        steps.setdefault(model, []).append(step)
    by_step: dict[tuple[str, str], dict[int, list[Value]]] = {}
    for job, entry, results in zip(jobs, entries, found, strict=True):
        results |= group_values(results, groups)
        for name in (name for name in rows if name in groups or name in entry.tasks):
            label = " ".join([job.cell.model, *several(job)])
            there = by_step.setdefault((name, label), {step: [] for step in steps[job.cell.model]})
            there[job.cell.step] += [results[name]] if name in results else []
    return [
        replace(curve, depth=rows[curve.task], tasks=len(tasks_of(groups, curve.task))) for curve in _curves(by_step)
    ]


def _curves(by_step: Mapping[tuple[str, str], Mapping[int, list[Value]]]) -> Iterator[TaskCurve]:
    for (task, model), steps in by_step.items():
        there = [value for several in steps.values() for value in several]
        if there:
            metric = there[-1].metric
            means = [_mean([v.value for v in steps[step] if v.metric == metric]) for step in steps]
            yield TaskCurve(task, model, metric, tuple(means), max(map(len, steps.values())))


def _mean(numbers: Sequence[float]) -> float:
    there = [number for number in numbers if math.isfinite(number)]
    return sum(there) / len(there) if there else math.nan


def _several(jobs: Sequence[JobSpec]) -> Callable[[JobSpec], list[str]]:
    """Which words of a job tell it from jobs of the same model and step, training seeds aside."""
    common: dict[str, set[str]] = {}
    for job in jobs:
        said = set(job.overrides)
        common[job.cell.model] = common.get(job.cell.model, said) & said

    def words(job: JobSpec) -> list[str]:
        return [
            word for word in job.overrides
            if word not in common[job.cell.model]
            and not word.startswith(("model=", "stage=", "step=", "checkpoint.seed="))
        ]  # fmt: skip

    return words


def _journalled(entry: JobProgress) -> dict[str, Value]:
    """Task -> its value, of the results in a job's folder."""
    found = {}
    for task, key in entry.keys.items():
        result = result_files.record_of(entry.folder / result_files.FOLDER / result_files.record_name(task, key))
        if result is not None and result.key == key:
            found[task] = Value(result.primary_metric, result.metrics.get(result.primary_metric, math.nan), result.n)
    return found


def _filed(store: Store, suites: Iterable[str], keys: Collection[str]) -> Iterator[tuple[str, Value]]:
    """The values of results that the store alone has, each with its key; none where it cannot be read."""
    try:
        for suite in suites:
            table = store.table(suite)
            rows = table[table["primary"] & table["task_key"].isin(keys)]
            for key, *said in rows[["task_key", "metric", "value", "n"]].itertuples(index=False, name=None):
                yield key, Value(*said)
    except TrackingError:
        return
