"""What of a sweep is done, at work, failed or missing: read from the jobs' folders and the store, loading nothing.

A job's keys follow from its config, its tasks and the identity of its checkpoint. The identity is in the journal, or on
the store's run where another machine computed the results; so no hub is asked and no weight is read, unless a local
checkpoint is newer than its results. Whether files are damaged is seen when they are used, not here.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from evalrun import checkpoints
from evalrun.checkpoints import audit, downloads
from evalrun.checkpoints.suites import allowed, checkpoint_of
from evalrun.config.compose import compose, hydra_session, to_config
from evalrun.config.schema import Config, TrackingConf
from evalrun.core.errors import CheckpointError, ConfigError, TrackingError
from evalrun.core.records import Checkpoint, TaskResult
from evalrun.grid import job_keys, namesakes, planning
from evalrun.grid import overrides as ov
from evalrun.journal import job_state, result_files
from evalrun.journal.job_state import JobState
from evalrun.tracking import Store
from evalrun.tracking.layout import RunEntry, by_place

STATES = ("done", "running", "undelivered", "failed", "died", "missing")


@dataclass(frozen=True)
class Scope:
    """What a command is about: a grid, or all that is in the jobs' folders."""

    words: tuple[str, ...]  # the overrides as typed
    tracking: TrackingConf
    root: Path  # of all job folders, where no grid is named
    plan: planning.Plan | None = None
    folders: tuple[Path, ...] = ()  # of the plan's jobs, in their order


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
            return Scope(own, to_config(config).tracking, Path(str(config.hydra.sweep.dir)))
        plan = planning.plan(tuple(ov.for_hydra(given)))
        hydra = [o.input_line or "" for o in given if o.key_or_group.startswith("hydra")]
        folders = tuple(folders_of(plan, hydra))
    return Scope(own, plan.config.tracking, Path(), plan, folders)


def folders_of(plan: planning.Plan, hydra: Sequence[str]) -> Iterator[Path]:
    """Each job's folder, as Hydra names it; composed once, because composing takes a quarter of a second."""
    config = compose([*plan.jobs[0].overrides, *hydra])
    last, place = plan.config, config.hydra.sweep
    root = Path(str(place.dir))
    for job in plan.jobs:
        if replace(job.config, step=0) != replace(last, step=0):
            for key, value in vars(job.config).items():
                config[key] = value
            last = job.config
        config.step = job.cell.step
        yield root / str(place.subdir)


def collect_progress(asked: Scope) -> Progress:
    """Survey a grid, or everything.

    Raises:
        TaskError: a task's file or data cannot be read.
    """
    store = Store(asked.tracking)
    with hydra_session():
        if asked.plan is not None:
            suites = {job.cell.suite for job in asked.plan.jobs}
            held, fault = _held(store, suites)
            entries = list(_of_grid(asked.plan, asked.folders, held))
            return Progress(entries, fault, () if held is None else _taken(asked.plan, entries, held, store))
        found = {folder: list(records(folder)) for folder in job_folders(asked.root)}
        held, fault = _held(store, {result.cell.suite for results in found.values() for result in results})
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


RunsBySuite = dict[str, dict[str, RunEntry]]  # suite -> run key -> what is filed


def _held(store: Store, suites: Iterable[str]) -> tuple[RunsBySuite | None, str | None]:
    try:
        store.check_readable()
        return {suite: store.filed(suite) for suite in sorted(suites)}, None
    except TrackingError as error:
        return None, str(error)


def _of_grid(plan: planning.Plan, folders: Sequence[Path], held: RunsBySuite | None) -> Iterator[JobProgress]:
    """How far each job of a plan is, by its journal, what MLflow holds, and what a running one says of itself.

    Args:
        plan: The jobs.
        folders: Of the jobs, in their order.
        held: Suite -> run key -> run; None where the store could not be asked.
    """
    places = by_place(held or {})
    name = plan.sweep
    for job, folder in zip(plan.jobs, folders, strict=True):
        files = job_keys.files_of_sweep(replace(job.config, sweep=name))
        names, cell = [file.name for file in files], job.cell
        there = _files(folder / result_files.FOLDER)
        filed = places.get((cell.suite, cell.model, cell.seed, cell.step), [])
        identity = _identity(job, folder, there, filed)
        missing, undelivered = names, []
        if identity is not None:
            run_key, keys = job_keys.keys_by_identity(job.config, identity, files)
            run = (held or {}).get(cell.suite, {}).get(run_key)
            there_too = {} if run is None else run.tasks
            delivered = {name for name, key in keys.items() if there_too.get(name) == key}
            journalled = {name for name, key in keys.items() if result_files.record_name(name, key) in there}
            missing = [name for name in names if name not in delivered | journalled]
            undelivered = [name for name in names if name in journalled - delivered]
        state = job_state.read(job_state.path_of(folder, job_keys.state_name(job.config)))
        if state is not None and missing and not state.alive and not set(state.tasks) & set(missing):
            state = None  # of other tasks
        yield JobProgress(
            *(cell.suite, cell.model, cell.seed, cell.step, cell.label, folder, names, missing),
            undelivered=None if held is None else undelivered, job=state, overrides=list(job.overrides),
        )  # fmt: skip


def _taken(plan: planning.Plan, entries: Sequence[JobProgress], held: RunsBySuite, store: Store) -> tuple[str, ...]:
    """Why a sweep of what is missing would be refused: a name is another run's. Weights are read only if it may be."""
    folders: dict[tuple[str, str, int | None], set[str]] = defaultdict(set)
    for suite, runs in held.items():
        for run in runs.values():
            if run.place is not None and run.folder is not None:
                folders[suite, *run.place[:2]].add(run.folder)
    configs = []
    for job, entry in zip(plan.jobs, entries, strict=True):
        known = folders[entry.suite, entry.model, entry.seed]
        if entry.missing and known and not any(_may_be_of(job, folder) for folder in known):
            configs.append(job.config)
    try:
        namesakes.refuse(configs, [_place(config) for config in configs], store)
    except ConfigError as error:
        return tuple(error.problems)
    return ()


def _place(config: Config) -> checkpoints.ResolvedCheckpoint | CheckpointError:
    try:
        return allowed.locate(config, checkpoint_of(config))
    except CheckpointError as error:
        return error


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


def _identity(job: planning.Job, folder: Path, there: Mapping[str, int], filed: Sequence[RunEntry]) -> str | None:
    """Which checkpoint the results of a cell are of: what the journal says, or the store; None without results."""
    said = None
    for name in sorted(there, key=lambda name: there[name], reverse=True):
        result = result_files.record_of(folder / result_files.FOLDER / name)
        if result is not None:
            said = result.settings.get("identity")
            if not _may_be_of(job, result.settings.get("folder")):
                break
            if isinstance(said, str) and not _newer(job.cell, result.finished_ms):
                return _by_tokens(job, said)
            break
    else:
        if not filed:
            return None
        for one in filed:
            if (
                one.identity is not None
                and _may_be_of(job, one.folder)
                and not _newer(job.cell, max(one.finished_ms.values(), default=0))
            ):
                return _by_tokens(job, one.identity)
    try:  # results of an earlier version or of another folder, or a checkpoint that changed after them
        return allowed.locate(job.config, job.cell).identity
    except CheckpointError:
        return said


def _may_be_of(job: planning.Job, folder: object) -> bool:
    """Whether a result computed in a folder is taken for a job's unseen; if not, its run was moved, or is another."""
    return namesakes.folder_of(job.config) in (folder, None) or folder is None


def _by_tokens(job: planning.Job, identity: str) -> str:
    """An identity with what the following of a tokenizer's file adds to it."""
    bare = checkpoints.without_mark(identity)
    return allowed.by_tokens(job.config, allowed.named(job.cell, bare)).identity


def _newer(cell: Checkpoint, finished_ms: int) -> bool:
    """Whether a local checkpoint was written after its results."""
    if cell.revision is not None:
        return False
    try:
        with os.scandir(cell.location) as found:
            return any(entry.stat().st_mtime_ns > finished_ms * 1_000_000 for entry in found)
    except OSError:
        return False


def find_done(configs: Sequence[Config], sweep: str) -> tuple[set[int], dict[int, CheckpointError]]:
    """Which jobs need not start, because nothing is left to compute or deliver, and which must not.

    A finished sweep is recognised in seconds, and no launcher queues a job for work that is done.

    Args:
        configs: One for each job.
        sweep: The multirun that wants them, noted on the runs that are done.

    Returns:
        Positions of the jobs that are done; of those that are refused, with the reason: their weights are another
        step's.

    Raises:
        EvalrunError: when tasks or the store cannot be read, or no checkpoint at all can be found; one checkpoint's
            own fault is left to its job.
    """
    store = Store(configs[0].tracking)
    with ThreadPoolExecutor(max_workers=8) as pool:  # a hub checkpoint costs a question to the hub
        places = list(pool.map(job_keys.try_to_locate, configs))
    downloads.remember([place for place in places if not isinstance(place, CheckpointError)])
    faults = [place for place in places if isinstance(place, CheckpointError)]
    if len(faults) == len(places):
        raise CheckpointError(f"none of the {len(places)} checkpoints can be had; the first: {faults[0]}")
    held = {suite: store.delivered_all(suite) for suite in {config.checkpoint.suite for config in configs}}
    done: set[int] = set()
    marked: dict[str, list[str]] = defaultdict(list)
    for position, (config, located) in enumerate(zip(configs, places, strict=True)):
        if isinstance(located, CheckpointError) or config.force:
            continue
        run_key, keys = job_keys.result_keys(config, located, job_keys.files_of_sweep(replace(config, sweep=sweep)))
        delivered = held[located.cell.suite].get(run_key, {})
        if all(delivered.get(name) == key for name, key in keys.items()):
            marked[located.cell.suite].append(run_key)
            done.add(position)
    for suite, run_keys in marked.items():
        store.mark_all(suite, run_keys, sweep)
    refused: dict[int, CheckpointError] = {}
    if len(done) < len(configs):
        namesakes.refuse(configs, places, store)
        refused = audit.refusals(configs, [namesakes.here(place) for place in places], store.table)
    return done, {position: error for position, error in refused.items() if position not in done}


def wanted_keys(configs: Sequence[Config]) -> set[str]:
    """The keys of all task results that jobs are for.

    Raises:
        CheckpointError: a checkpoint that cannot be found.
    """
    with ThreadPoolExecutor(max_workers=8) as pool:  # a hub checkpoint costs a question to the hub
        places = list(pool.map(job_keys.try_to_locate, configs))
    keys: set[str] = set()
    for config, located in zip(configs, places, strict=True):
        if isinstance(located, CheckpointError):
            raise located
        keys.update(job_keys.result_keys(config, located, job_keys.files_of_sweep(config))[1].values())
    return keys
