"""What of a sweep is done, at work, failed or missing: read from the jobs' folders and the store, loading nothing.

A job's keys follow from its config, its tasks and the identity of its checkpoint, which its results say
(`grid.identities`). A task is missing that neither journal nor store has, and undelivered if the journal alone has it.
Every command's answer is a view of `of`. Whether files are damaged is seen when they are used, not here.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from evalrun.checkpoints.folder_notes import notes
from evalrun.config.compose import compose, hydra_session, to_config
from evalrun.config.schema import TrackingConf
from evalrun.core import garbage
from evalrun.core.errors import ConfigError, TrackingError
from evalrun.core.records import TaskResult
from evalrun.grid import identities, job_keys, namesakes, planning
from evalrun.grid import overrides as ov
from evalrun.grid.job_folders import root_of
from evalrun.grid.job_spec import JobSpec
from evalrun.grid.locating import try_to_locate
from evalrun.grid.sweep_plan import Plan
from evalrun.journal import job_state, result_files
from evalrun.journal.job_state import JobState
from evalrun.tracking import Store
from evalrun.tracking.layout import RunEntry

RunsBySuite = dict[str, dict[str, RunEntry]]  # suite -> run key -> what is filed
RunsByPlace = dict[tuple[object, ...], list[RunEntry]]  # (suite, model, seed, step) -> its runs
STATES = ("done", "running", "undelivered", "failed", "died", "missing")


@dataclass(frozen=True)
class Scope:
    """What a command is about: a grid, or all that is in the jobs' folders."""

    words: tuple[str, ...]  # the overrides as typed
    tracking: TrackingConf
    root: Path  # of all job folders, where no grid is named
    plan: Plan | None = None


@dataclass(frozen=True)
class JobProgress:
    """One checkpoint with one way of scoring, and how far it is."""

    suite: str
    model: str
    seed: int | None
    step: int
    label: str
    folder: Path
    tasks: list[str]  # that are wanted
    missing: list[str]  # of them, those without a result
    undelivered: list[str] | None  # of them, those that MLflow lacks; None where it could not be asked
    job: JobState | None = None  # what its last job left, if it did not end well or has not ended
    overrides: list[str] = field(default_factory=list)  # of the job; none where no grid was named
    run_key: str | None = None  # of its checkpoint's results; None where no grid was named or none are known
    keys: Mapping[str, str] = field(default_factory=dict)  # task -> the key of its result

    @property
    def state(self) -> str:
        """One of STATES. What is there counts before what a job said."""
        if self.job is not None and self.job.alive:
            return "running"
        if not self.missing and self.undelivered is not None:
            return "undelivered" if self.undelivered else "done"
        if self.job is None:
            return "missing" if self.missing else "done"
        return "failed" if self.job.state == job_state.FAILED else "died"


@dataclass(frozen=True)
class Progress:
    """All entries, why the store could not be asked, if so, and which names are other runs' already."""

    entries: list[JobProgress]
    store_fault: str | None
    taken: tuple[str, ...] = ()


def parse_scope(words: Sequence[str]) -> Scope:
    """Read what a command is about: the words of a sweep, or none of model=, step= and so on for everything.

    Raises:
        ConfigError: words that cannot be right.
    """
    own = tuple(w for w in words if not w.startswith("-"))
    with hydra_session():
        given = ov.parse(own)
        planning.check(given)
        about_store = [o.key_or_group.startswith(("tracking", "hydra")) for o in given]
        if all(about_store):
            config = compose(["model=pythia-70m", "step=0", *ov.for_hydra(given)])
            return Scope(own, to_config(config).tracking, root_of(config))
        plan = planning.plan(tuple(ov.for_hydra(given)), are_checked=True)
    return Scope(own, plan.config.tracking, plan.root, plan)


@garbage.without_search()
def collect_progress(asked: Scope) -> Progress:
    """Survey a grid, or everything.

    Raises:
        TaskError: a task's file or data cannot be read.
    """
    store = Store(asked.tracking)
    with hydra_session(), notes().one_look():
        if asked.plan is not None:
            held, fault = runs_of(store, {job.cell.suite for job in asked.plan.jobs})
            entries = list(map(_with_state, asked.plan.jobs, of(asked.plan.jobs, held)))
            return Progress(entries, fault, () if held is None else taken(asked.plan.jobs, entries, held, store))
        found = {folder: list(records(folder)) for folder in job_folders(asked.root)}
        held, fault = runs_of(store, {result.cell.suite for results in found.values() for result in results})
        return Progress([entry for folder in found for entry in _of_folder(folder, found[folder], held)], fault)


def job_folders(root: Path) -> list[Path]:
    """The folders below the root in which a job left results or its state."""
    found = {path.parent for path in root.rglob(result_files.FOLDER) if path.is_dir()}
    return sorted(found | {path.parent for path in root.rglob("state-*.json")})


def records(folder: Path) -> Iterator[TaskResult]:
    """The results of a folder by their records alone; of one task scored again for one run, the latest."""
    latest: dict[tuple[str, str], TaskResult] = {}
    for path in sorted((folder / result_files.FOLDER).glob("*.json")):
        result = result_files.record_of(path)
        if result is not None:
            known = latest.setdefault((result.run_key, result.task), result)
            if result.finished_ms > known.finished_ms:
                latest[result.run_key, result.task] = result
    yield from latest.values()


def lacks(held: Mapping[str, RunEntry], result: TaskResult) -> bool:
    """Whether the store lacks a result and holds no later one in its place."""
    run = held.get(result.run_key)
    if run is None or result.task not in run.tasks:
        return True
    return run.tasks[result.task] != result.key and run.finished_ms[result.task] < result.finished_ms


def runs_of(store: Store, suites: Iterable[str]) -> tuple[RunsBySuite | None, str | None]:
    """What a store holds of suites, or None and why it cannot be asked; it is not made where there is none."""
    try:
        store.check_readable()
        return {suite: store.filed(suite) for suite in sorted(suites)}, None
    except TrackingError as error:
        return None, str(error)


def of(jobs: Sequence[JobSpec], held: RunsBySuite | None, known: Mapping[int, str] | None = None) -> list[JobProgress]:
    """How far jobs are, by their journals and the store: the one answer that all commands go by.

    Args:
        jobs: The jobs.
        held: What the store holds, as `runs_of` gives it; None where it cannot be asked.
        known: Position -> identity of the checkpoint, of the jobs where it was looked at; the others' results say it.

    Raises:
        TaskError: a task's file or data cannot be read.
    """
    places, identity = _by_place(held or {}), known or {}
    found = [_of_job(job, places, held, identity.get(position)) for position, job in enumerate(jobs)]
    notes().save()
    return found


def _by_place(filed: RunsBySuite) -> RunsByPlace:
    """The runs of each checkpoint: (suite, model, seed, step) -> its runs, from suite -> run key -> run."""
    found: RunsByPlace = defaultdict(list)
    for suite, runs in filed.items():
        for run in runs.values():
            if run.place is not None:
                found[suite, *run.place].append(run)
    return found


def _of_job(job: JobSpec, places: RunsByPlace, held: RunsBySuite | None, identity: str | None) -> JobProgress:
    """How far one job is: by the store alone if that has all of it, else by its journal too.

    Args:
        job: The job.
        places: What the store holds, by checkpoint.
        held: What it holds by suite and run key; None where it cannot be asked.
        identity: Of the checkpoint that is there; None to go by what its results say.
    """
    files, cell = job.files, job.cell
    runs = (held or {}).get(cell.suite, {})
    names = [file.name for file in job.asked]
    filed = places.get((cell.suite, cell.model, cell.seed, cell.step), [])
    known: dict[str, tuple[str, dict[str, str]]] = {}  # identity -> keys

    if job.results is not None:
        known[job.results.located.identity] = job.results.run_key, dict(job.results.keys)

    def compared(identity: str, journal: Collection[str]) -> JobProgress:
        """What there is of one checkpoint, given the names of the records in the journal."""
        if identity not in known:
            known[identity] = job_keys.keys_by_identity(job.config, identity, files, cell)
        run_key, keys = known[identity]
        there = runs[run_key].tasks if run_key in runs else {}
        delivered = {name for name in names if there.get(name) == keys[name]}
        journalled = {name for name in names if result_files.record_name(name, keys[name]) in journal}
        return JobProgress(
            *(cell.suite, cell.model, cell.seed, cell.step, cell.label, job.folder, names),
            missing=[name for name in names if name not in delivered | journalled],
            undelivered=None if held is None else [name for name in names if name in journalled - delivered],
            overrides=list(job.overrides), run_key=run_key, keys=keys,
        )  # fmt: skip

    first = identity if identity is not None or job.results is None else job.results.located.identity
    # What the store has whole needs no look into a folder: of thousands of jobs most are done.
    for candidate in identities.by_store(job, filed) if first is None else [first]:
        if not (entry := compared(candidate, ())).missing:
            return entry
    journal = _files(job.folder / result_files.FOLDER)
    if first is not None:
        entry = compared(first, journal)
        if identity is not None or not entry.missing:  # else it may have become another when its files were fetched
            return entry
    if (said := identities.by_results(job, journal, filed)) is not None:
        return compared(said, journal)
    return JobProgress(
        *(cell.suite, cell.model, cell.seed, cell.step, cell.label, job.folder, names, names),
        undelivered=None if held is None else [], overrides=list(job.overrides),
    )  # fmt: skip


def _with_state(job: JobSpec, entry: JobProgress) -> JobProgress:
    """An entry with what its last job left, unless that was about other tasks."""
    state = job_state.read(job.state)
    if state is not None and entry.missing and not state.alive and not set(state.tasks) & set(entry.missing):
        return entry
    return replace(entry, job=state)


def taken(jobs: Sequence[JobSpec], entries: Sequence[JobProgress], held: RunsBySuite, store: Store) -> tuple[str, ...]:
    """Why a sweep of what is missing would be refused: a name is another run's. Weights are read only if it may be."""
    known_folders: dict[tuple[object, ...], set[str]] = defaultdict(set)
    for suite, runs in held.items():
        for run in runs.values():
            if (training := namesakes.training_of(run)) is not None and run.folder is not None:
                known_folders[suite, *training].add(run.folder)
    doubtful = []
    for job, entry in zip(jobs, entries, strict=True):
        known = known_folders[entry.suite, entry.model, entry.seed, job.cell.stage]
        if entry.missing and known and not any(identities.may_be_of(job, folder) for folder in known):
            doubtful.append(job)
    try:
        namesakes.refuse([job.config for job in doubtful], [try_to_locate(job) for job in doubtful], store.filed)
    except ConfigError as error:
        return tuple(error.problems)
    return ()


def _of_folder(folder: Path, results: Sequence[TaskResult], held: RunsBySuite | None) -> Iterator[JobProgress]:
    """The entries of a folder: one for each run key, and one for each job that found no checkpoint."""
    states = job_state.read_all(folder)
    groups: dict[str | None, list[TaskResult]] = defaultdict(list)
    for result in results:
        groups[result.run_key].append(result)
    for run_key, group in groups.items():
        state = next((state for state in states if state.run_key == run_key), None)
        cell, names = group[0].cell, [result.task for result in group]
        wanted = list(dict.fromkeys([*names, *(state.tasks if state is not None else ())]))
        lacking = [] if held is None else [r.task for r in group if lacks(held.get(cell.suite, {}), r)]
        yield JobProgress(
            *(cell.suite, cell.model, cell.seed, cell.step, cell.label, folder, wanted),
            missing=[name for name in wanted if name not in names],
            undelivered=None if held is None else lacking, job=state,
        )  # fmt: skip
    for state in states:
        if state.run_key not in groups:
            yield JobProgress(
                *(state.suite, state.model, state.seed, state.step, state.label, folder, state.tasks, state.tasks),
                undelivered=None if held is None else [], job=state,
            )  # fmt: skip


def _files(folder: Path) -> dict[str, int]:
    """Names of the records in a journal, and when each was written."""
    try:
        with os.scandir(folder) as found:
            return {entry.name: entry.stat().st_mtime_ns for entry in found if entry.name.endswith(".json")}
    except OSError:
        return {}
