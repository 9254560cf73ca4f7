"""What of a plan is done, what is here, and what would have to be fetched. Writes nothing, asks the hub little.

A hub model costs two questions, however many of its revisions are asked for: which commit each revision is, and how
large the files of one of them are, which its others are taken to equal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from evalrun import checkpoints, progress
from evalrun.checkpoints import ResolvedCheckpoint, conversions, kept_commits
from evalrun.checkpoints.suites import allowed
from evalrun.config.schema import Config
from evalrun.core.errors import CheckpointError
from evalrun.core.records import Checkpoint
from evalrun.grid.job_spec import JobSpec
from evalrun.grid.sweep_plan import Plan
from evalrun.tasks.needed_data import DatasetNeed, data_of
from evalrun.tracking import RunEntry, Store

_AT_ONCE = 8
_PATIENCE_S = 2.0


@dataclass(frozen=True)
class JobNeeds:
    """One job: how far it is and what it needs."""

    config: Config
    cell: Checkpoint
    located: ResolvedCheckpoint | None  # None where nobody can say which commit it is
    problem: str | None  # why not
    todo: tuple[str, ...]  # tasks that would be computed
    here: bool  # its files
    download: int | None  # bytes to fetch; None: not known
    weights: int | None  # bytes of the files that would be loaded; None: not known
    unconverted: int | None = None  # bytes of a checkpoint that is to be converted; None: it is not, or is already
    undelivered: tuple[str, ...] = ()  # tasks whose results the journal has and the store lacks

    @property
    def done(self) -> bool:
        """Whether nothing is left to compute."""
        return not self.todo


@dataclass(frozen=True)
class Inventory:
    """A whole plan."""

    jobs: tuple[JobNeeds, ...]
    data: tuple[DatasetNeed, ...]  # of tasks that are to be computed
    past: tuple[RunEntry, ...]  # earlier runs in the store, of the plan's suites
    files: tuple[str, ...]  # names of the tasks
    hub: str | None  # why the hub was not asked, if it should have been
    store: str | None  # why it is not known what the store has

    @property
    def to_fetch(self) -> list[JobNeeds]:
        """One for each checkpoint of the hub that is needed and not here."""
        missing = [job for job in self.jobs if job.todo and not job.here and job.cell.revision is not None]
        return list({(job.cell.location, job.cell.revision): job for job in missing}.values())


def take_inventory(plan: Plan, ask_hub: bool = True, patience_s: float = _PATIENCE_S) -> Inventory:
    """Look at everything that a plan needs.

    Args:
        plan: The plan.
        ask_hub: Whether to ask the hub at all.
        patience_s: Seconds to wait for the hub before it counts as out of reach.

    Raises:
        TaskError: a task file that cannot be read.
    """
    jobs = plan.jobs
    remote = [job.cell for job in jobs if job.cell.revision is not None]
    fault = None
    if remote:
        fault = checkpoints.hub_fault(patience_s) if ask_hub else "not asked"
    commits = _commits(remote, fault)
    store = Store(plan.config.tracking)
    held, unknown = progress.runs_of(store, {job.cell.suite for job in jobs})
    placed = [_place(job, commits) for job in jobs]
    known = {at: located.identity for at, (located, _) in enumerate(placed) if located and not located.cell.tokenizer}
    entries = progress.of(jobs, held, known)
    if held:
        placed = _with_namesakes(jobs, entries, placed, held, store)
    todo = [tuple(entry.tasks if job.config.force else entry.missing) for job, entry in zip(jobs, entries, strict=True)]
    here = [_is_here(job, *place) for job, place in zip(jobs, placed, strict=True)]
    needing = [
        (located, job.config)
        for (located, _), job, tasks, there in zip(placed, jobs, todo, here, strict=True)
        if tasks and not there and located is not None and located.commit is not None
    ]
    sizes = _sizes(needing) if fault is None else {}
    noted = cache(lambda place: list(conversions.records(place)))  # by checkpoint.converted, once for all jobs
    needs = tuple(
        JobNeeds(job.config, job.cell, located, problem, tasks, there, *_amounts(job, located, there, sizes),
                 _unconverted(job, noted) if tasks else None, tuple(entry.undelivered or ()))
        for job, entry, (located, problem), tasks, there in zip(jobs, entries, placed, todo, here, strict=True)
    )  # fmt: skip
    files = {file.name: file for job in jobs for file in job.files}
    data = data_of([file for file in files.values() if file.name in {task for tasks in todo for task in tasks}])
    past = () if held is None else _past(held)
    return Inventory(needs, tuple(data), past, tuple(files), fault, unknown)


def _commits(cells: Sequence[Checkpoint], fault: str | None) -> dict[tuple[str, str], str | CheckpointError]:
    """Repository and revision -> commit: of the hub in one question a repository, else of the local cache."""
    found: dict[tuple[str, str], str | CheckpointError] = {}
    places = list(dict.fromkeys(cell.location for cell in cells))
    if fault is None:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for place, refs in zip(places, pool.map(_refs, places), strict=True):
                for cell in cells:
                    if cell.location == place:
                        found[place, str(cell.revision)] = _commit_in(refs, cell)
        return found
    for cell in cells:
        recalled = kept_commits.recall(cell)
        commit = checkpoints.cached_commit(cell) or (recalled.commit if recalled else None)
        found[cell.location, str(cell.revision)] = commit or CheckpointError(f"{cell.label} is not in the local cache.")
    return found


def _commit_in(refs: Mapping[str, str] | CheckpointError, cell: Checkpoint) -> str | CheckpointError:
    if isinstance(refs, CheckpointError):
        return refs
    revision = str(cell.revision)
    if len(revision) == 40 and set(revision) <= set("0123456789abcdef"):
        return revision
    return refs.get(revision) or CheckpointError(f"the hub's {cell.location} has no revision '{revision}'.")


def _refs(location: str) -> dict[str, str] | CheckpointError:
    try:
        return checkpoints.revisions(location)
    except CheckpointError as error:
        return error


def _place(
    job: JobSpec, commits: Mapping[tuple[str, str], str | CheckpointError]
) -> tuple[ResolvedCheckpoint | None, str | None]:
    """Where a hub checkpoint is; a local one is not read. And what is wrong with it."""
    cell, config = job.cell, job.config
    if cell.revision is None:
        if job.release.fault is not None:
            return None, job.release.fault
        if config.checkpoint.convert is not None:
            return None, None
        try:
            checkpoints.check_folder(Path(cell.location), cell, config.trust_pickle, config.allow_unused_weights)
        except CheckpointError as error:
            return None, str(error)
        return None, None
    commit = commits[cell.location, cell.revision]
    if isinstance(commit, CheckpointError):
        return None, str(commit)
    return allowed.by_tokens(config, ResolvedCheckpoint(cell, f"hub:{cell.location}@{commit}", None, commit)), None


def _with_namesakes(
    jobs: Sequence[JobSpec],
    entries: Sequence[progress.JobProgress],
    placed: Sequence[tuple[ResolvedCheckpoint | None, str | None]],
    held: progress.RunsBySuite,
    store: Store,
) -> list[tuple[ResolvedCheckpoint | None, str | None]]:
    """Where jobs' checkpoints are, with the sentence by which a sweep would refuse a name that another run has."""
    runs: dict[tuple[str, str, int | None], list[int]] = {}
    for position, job in enumerate(jobs):
        if job.config.checkpoint.folder is not None and entries[position].missing:
            runs.setdefault((job.cell.suite, job.cell.model, job.cell.seed), []).append(position)
    found = list(placed)
    for run in runs.values():
        said = progress.taken([jobs[at] for at in run], [entries[at] for at in run], held, store)
        for position in run if said else ():
            found[position] = (placed[position][0], placed[position][1] or " ".join(said))
    return found


def _is_here(job: JobSpec, located: ResolvedCheckpoint | None, problem: str | None) -> bool:
    """Whether the files of a job's checkpoint are whole, in its folder or in the hub's cache.

    Args:
        job: The job.
        located: Where a hub checkpoint is.
        problem: What is wrong with its place; a folder without a problem has been looked through.
    """
    cell = job.cell
    folder = Path(cell.location)
    if cell.revision is None and problem is None:
        return True
    if cell.revision is not None:
        if located is None:
            return False
        folder = checkpoints.repository_cache(cell.location) / "snapshots" / str(located.commit)
        if not folder.is_dir():
            return False
    try:
        checkpoints.check_folder(folder, cell, job.config.trust_pickle, unused_weights=True)
    except CheckpointError:
        return False
    return True


def _bytes_of(cells: Sequence[Checkpoint]) -> int:
    folders = {cell.location for cell in cells}
    return sum(file.stat().st_size for folder in folders for file in checkpoints.weight_files(Path(folder)))


def _past(held: progress.RunsBySuite) -> tuple[RunEntry, ...]:
    """What the store holds of the suites, oldest first."""
    return tuple(run for runs in held.values() for run in reversed(runs.values()) if run.checkpoint is not None)


def _sizes(needing: Sequence[tuple[ResolvedCheckpoint, Config]]) -> dict[str, dict[str, int]]:
    """Repository -> the files of one of its commits that would be fetched."""
    one = {located.cell.location: (located, config) for located, config in needing}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip(one, pool.map(_sizes_of, one.values()), strict=True))


def _sizes_of(pair: tuple[ResolvedCheckpoint, Config]) -> dict[str, int]:
    located, config = pair
    try:
        return checkpoints.sizes(located.cell.location, str(located.commit), config.trust_pickle)
    except Exception:  # no network comes in many classes; what is not known is said to be so
        return {}


def _unconverted(job: JobSpec, noted: Callable[[str | None], list[dict[str, Any]]]) -> int | None:
    """Bytes of a job's checkpoint where it is yet to be converted.

    Args:
        job: The job.
        noted: Gives `conversions.records` of a place.
    """
    checkpoint = job.config.checkpoint
    if checkpoint.convert is None or conversions.is_made(job.cell, checkpoint.convert, noted(checkpoint.converted)):
        return None
    return conversions.bytes_of(Path(job.cell.location))


def _amounts(
    job: JobSpec,
    located: ResolvedCheckpoint | None,
    here: bool,
    sizes: Mapping[str, dict[str, int]],
) -> tuple[int | None, int | None]:
    """Bytes to fetch and bytes of weights."""
    cell = job.cell
    if job.config.checkpoint.convert is not None:
        return 0, None
    if cell.revision is None:
        return 0, _bytes_of([cell]) if here else None
    if located is None:
        return None, None
    folder = checkpoints.repository_cache(cell.location) / "snapshots" / str(located.commit)
    if here:
        return 0, sum(file.stat().st_size for file in checkpoints.weight_files(folder))
    files = sizes.get(cell.location)
    if not files:
        return None, None
    missing = sum(size for name, size in files.items() if not (folder / name).is_file())
    return missing, _weights_among(files)


def _weights_among(files: Mapping[str, int]) -> int | None:
    """The weights that loading would read, by the rule of `checkpoints.weight_files`."""
    for single in checkpoints.SINGLE:
        if single in files:
            return files[single]
        shards = [size for name, size in files.items() if name.endswith(Path(single).suffix) and "/" not in name]
        if shards:
            return sum(shards)
    return None
