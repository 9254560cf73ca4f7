"""What a sweep's jobs have come to: from the journal, and from the store where another machine computed the results."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evalrun.core.errors import TrackingError
from evalrun.core.records import TaskResult
from evalrun.grid import job_keys
from evalrun.grid.planning import Job, Plan
from evalrun.journal import result_files
from evalrun.tasks.task_file import TaskFile
from evalrun.tracking import Store
from evalrun.tracking.layout import by_place


@dataclass(frozen=True)
class Value:
    """A task's primary metric on one checkpoint."""

    metric: str
    value: float


@dataclass(frozen=True)
class TaskCurve:
    """A task over the steps of one model, in the order of training; a step without a result is NaN."""

    task: str
    model: str  # with what else tells its jobs from others of the model
    metric: str
    values: tuple[float, ...]
    seeds: int = 1  # training seeds that a value is the mean of, at most


def values(plan: Plan, folders: Sequence[Path]) -> list[TaskCurve]:
    """The curves of a sweep that have any result; several training seeds are averaged.

    Args:
        plan: The sweep.
        folders: Of its jobs, in their order.
    """
    tasks = [job_keys.files_of_sweep(replace(job.config, sweep=plan.sweep)) for job in plan.jobs]
    found = [_journalled(job, folder, files) for job, folder, files in zip(plan.jobs, folders, tasks, strict=True)]
    lacking = [i for i, files in enumerate(tasks) if len(found[i]) < len(files)]
    if lacking:
        for i, more in _filed(plan, lacking, tasks).items():
            found[i] = more | found[i]
    several = _several(plan.jobs)
    by_step: dict[tuple[str, str], dict[int, list[Value]]] = defaultdict(lambda: defaultdict(list))
    for job, files, results in zip(plan.jobs, tasks, found, strict=True):
        for file in files:
            place = by_step[file.name, " ".join([job.cell.model, *several(job)])][job.cell.step]
            place += [results[file.name]] if file.name in results else []
    return list(_curves(by_step))


def _curves(by_step: Mapping[tuple[str, str], Mapping[int, list[Value]]]) -> Iterator[TaskCurve]:
    for (task, model), steps in by_step.items():
        there = [value for several in steps.values() for value in several]
        if there:
            metric = there[-1].metric
            means = [_mean([v.value for v in steps[step] if v.metric == metric]) for step in sorted(steps)]
            yield TaskCurve(task, model, metric, tuple(means), max(map(len, steps.values())))


def _mean(numbers: Sequence[float]) -> float:
    there = [number for number in numbers if math.isfinite(number)]
    return sum(there) / len(there) if there else math.nan


def _several(jobs: Sequence[Job]) -> Callable[[Job], list[str]]:
    """Which words of a job tell it from jobs of the same model and step, training seeds aside."""
    common = set.intersection(*(set(job.overrides) for job in jobs))

    def words(job: Job) -> list[str]:
        return [
            word for word in job.overrides
            if word not in common and not word.startswith(("model=", "step=", "checkpoint.seed="))
        ]  # fmt: skip

    return words


def _journalled(job: Job, folder: Path, files: Sequence[TaskFile]) -> dict[str, Value]:
    """Task -> its value, of the results in a job's folder that are for what the job is to do."""
    found: dict[str, TaskResult] = {}
    keys: dict[str, Mapping[str, str]] = {}
    for path in (folder / result_files.FOLDER).glob("*.json"):
        result = result_files.record_of(path)
        identity = result.settings.get("identity") if result is not None else None
        if result is None or identity is None:
            continue
        if identity not in keys:
            keys[identity] = job_keys.keys_by_identity(job.config, identity, files)[1]
        known = found.get(result.task)
        if keys[identity].get(result.task) == result.key and (known is None or known.finished_ms < result.finished_ms):
            found[result.task] = result
    metrics = {task: result.primary_metric for task, result in found.items()}
    return {task: Value(metric, found[task].metrics.get(metric, math.nan)) for task, metric in metrics.items()}


def _filed(plan: Plan, lacking: Sequence[int], tasks: Sequence[Sequence[TaskFile]]) -> dict[int, dict[str, Value]]:
    """Values that the store has of jobs whose folder lacks some, by job and task; none where it cannot be read."""
    store = Store(plan.config.tracking)
    try:
        store.check_readable()  # answers soon where nobody listens
        suites = {plan.jobs[i].cell.suite for i in lacking}
        runs = by_place({suite: store.filed(suite) for suite in suites})
        wanted: dict[str, tuple[int, str]] = {}  # a result's key -> job and task
        for i in lacking:
            job, cell = plan.jobs[i], plan.jobs[i].cell
            for run in runs.get((cell.suite, cell.model, cell.seed, cell.step), []):
                if run.identity is None:
                    continue
                _, keys = job_keys.keys_by_identity(job.config, run.identity, tasks[i])
                wanted |= {key: (i, task) for task, key in keys.items() if run.tasks.get(task) == key}
        found: dict[int, dict[str, Value]] = defaultdict(dict)
        for suite in suites if wanted else ():
            table = store.table(suite)
            rows = table[table["primary"] & table["task_key"].isin(wanted)]
            for key, metric, value in rows[["task_key", "metric", "value"]].itertuples(index=False, name=None):
                i, task = wanted[key]
                found[i][task] = Value(metric, value)
    except TrackingError:
        return {}
    return found
