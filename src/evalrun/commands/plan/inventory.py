"""What of a plan is done, what is here, and what would have to be fetched. Writes nothing, asks the hub little.

A hub model costs two questions, however many of its revisions are asked for: which commit each revision is, and how
large the files of one of them are, which its others are taken to equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from evalrun import checkpoints
from evalrun.checkpoints import ResolvedCheckpoint, downloads
from evalrun.checkpoints.suites import allowed, check, checkpoint_of
from evalrun.commands.plan.needed_data import DatasetNeed, data_of
from evalrun.config.schema import Config
from evalrun.core.errors import CheckpointError, ConfigError, TrackingError
from evalrun.core.records import Checkpoint
from evalrun.grid import job_keys, namesakes
from evalrun.tasks import task_file
from evalrun.tracking import PastRun, Store

_AT_ONCE = 8
_HASHED = 4 * 10**9  # bytes of local weights that are read to know what is done; beyond, names must do
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

    @property
    def done(self) -> bool:
        """Whether nothing is left to compute."""
        return not self.todo


@dataclass(frozen=True)
class Inventory:
    """A whole plan."""

    jobs: tuple[JobNeeds, ...]
    data: tuple[DatasetNeed, ...]  # of tasks that are to be computed
    past: tuple[PastRun, ...]  # earlier runs in the store, of the plan's suites
    files: tuple[str, ...]  # names of the tasks
    hub: str | None  # why the hub was not asked, if it should have been
    store: str | None  # why it is not known what is done
    by_name: bool  # local checkpoints were taken for the ones in the store because their names are

    @property
    def to_fetch(self) -> list[JobNeeds]:
        """One for each checkpoint of the hub that is needed and not here."""
        missing = [job for job in self.jobs if job.todo and not job.here and job.cell.revision is not None]
        return list({(job.cell.location, job.cell.revision): job for job in missing}.values())


def take_inventory(configs: Sequence[Config], ask_hub: bool = True, patience_s: float = _PATIENCE_S) -> Inventory:
    """Look at everything that a plan needs.

    Args:
        configs: One for each job.
        ask_hub: Whether to ask the hub at all.
        patience_s: Seconds to wait for the hub before it counts as out of reach.

    Raises:
        TaskError: a task file that cannot be read.
    """
    cells = [checkpoint_of(config) for config in configs]
    remote = [cell for cell in cells if cell.revision is not None]
    fault = None
    if remote:
        fault = checkpoints.hub_fault(patience_s) if ask_hub else "not asked"
    commits = _commits(remote, fault)
    past, unknown = _past(configs)
    placed = [_place(cell, config, commits) for cell, config in zip(cells, configs, strict=True)]
    here = [_is_here(cell, located, config.trust_pickle) for (located, _), cell, config in
            zip(placed, cells, configs, strict=True)]  # fmt: skip
    local = [cell for cell, there in zip(cells, here, strict=True) if cell.revision is None and there]
    by_name = bool(past) and _bytes_of(local) > _HASHED
    if past and not by_name:
        placed = [_read(pair, cell, config, there) for pair, cell, config, there in
                  zip(placed, cells, configs, here, strict=True)]  # fmt: skip
    todo = [_todo(config, located, past) for config, (located, _) in zip(configs, placed, strict=True)]
    if past:
        placed = _with_namesakes(configs, placed, todo)
    needing = [
        (located, config)
        for (located, _), config, tasks, there in zip(placed, configs, todo, here, strict=True)
        if tasks and not there and located is not None and located.commit is not None
    ]
    sizes = _sizes(needing) if fault is None else {}
    jobs = tuple(
        JobNeeds(config, cell, located, problem, tasks, there, *_amounts(config, cell, located, there, sizes))
        for config, cell, (located, problem), tasks, there in zip(configs, cells, placed, todo, here, strict=True)
    )
    wanted = {task for tasks in todo for task in tasks}
    files = {file.name: file for config in configs for file in _files(config)}
    data = data_of([file for file in files.values() if file.name in wanted])
    return Inventory(jobs, tuple(data), tuple(past), tuple(files), fault, unknown, by_name)


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
        recalled = downloads.recall(cell)
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
    cell: Checkpoint, config: Config, commits: Mapping[tuple[str, str], str | CheckpointError]
) -> tuple[ResolvedCheckpoint | None, str | None]:
    """Where a hub checkpoint is; a local one is not read yet."""
    if cell.revision is None:
        try:
            check(config)
            checkpoints.check_folder(Path(cell.location), cell, config.trust_pickle, config.allow_unused_weights)
        except CheckpointError as error:
            return None, str(error)
        return None, None
    commit = commits[cell.location, cell.revision]
    if isinstance(commit, CheckpointError):
        return None, str(commit)
    return ResolvedCheckpoint(cell, f"hub:{cell.location}@{commit}", None, commit), None


def _read(
    pair: tuple[ResolvedCheckpoint | None, str | None], cell: Checkpoint, config: Config, there: bool
) -> tuple[ResolvedCheckpoint | None, str | None]:
    if cell.revision is not None or not there:
        return pair
    try:
        return allowed.locate(config, cell), None
    except CheckpointError as error:
        return None, str(error)


def _with_namesakes(
    configs: Sequence[Config],
    placed: Sequence[tuple[ResolvedCheckpoint | None, str | None]],
    todo: Sequence[tuple[str, ...]],
) -> list[tuple[ResolvedCheckpoint | None, str | None]]:
    """Where jobs' checkpoints are, with the sentence by which a sweep would refuse a name that another run has."""
    runs: dict[tuple[str, str, int | None], list[int]] = {}
    for position, config in enumerate(configs):
        if config.checkpoint.folder is not None:
            key = (config.checkpoint.suite, config.model.name, config.checkpoint.seed)
            runs.setdefault(key, []).append(position)
    found = list(placed)
    for run in runs.values():
        places = [placed[position][0] or CheckpointError(str(placed[position][1])) for position in run]
        try:
            if any(todo[position] for position in run):
                namesakes.refuse([configs[position] for position in run], places, Store(configs[run[0]].tracking))
        except TrackingError:
            continue  # said by the survey
        except ConfigError as error:
            for position in run:
                found[position] = (placed[position][0], placed[position][1] or str(error))
    return found


def _is_here(cell: Checkpoint, located: ResolvedCheckpoint | None, trust_pickle: bool) -> bool:
    folder = Path(cell.location)
    if cell.revision is not None:
        if located is None:
            return False
        folder = checkpoints.repository_cache(cell.location) / "snapshots" / str(located.commit)
    try:
        checkpoints.check_folder(folder, cell, trust_pickle, unused_weights=True)
    except CheckpointError:
        return False
    return True


def _bytes_of(cells: Sequence[Checkpoint]) -> int:
    folders = {cell.location for cell in cells}
    return sum(file.stat().st_size for folder in folders for file in checkpoints.weight_files(Path(folder)))


def _past(configs: Sequence[Config]) -> tuple[list[PastRun], str | None]:
    store, found = Store(configs[0].tracking), []
    try:
        for suite in dict.fromkeys(config.checkpoint.suite for config in configs):
            found += store.past(suite)
    except TrackingError as error:
        return [], str(error)
    return found, None


def _files(config: Config) -> list[task_file.TaskFile]:
    return job_keys.files_of_sweep(replace(config, sweep="plan"))


def _todo(config: Config, located: ResolvedCheckpoint | None, past: Sequence[PastRun]) -> tuple[str, ...]:
    """The tasks that a run would compute: by content, or by the checkpoint's name where that was not read."""
    files = _files(config)
    names = tuple(file.name for file in files)
    if config.force or not past:
        return names
    if located is not None:
        run_key, keys = job_keys.result_keys(config, located, files)
        held = {t: entry.key for run in past if run.run_key == run_key for t, entry in run.tasks.items()}
        return tuple(name for name in names if held.get(name) != keys[name])
    cell = checkpoint_of(config)
    if cell.revision is not None:
        return names
    same = [run for run in past if (run.model, run.step, run.seed) == (cell.model, cell.step, cell.seed)]
    there = {task for run in same for task in run.tasks}
    return tuple(name for name in names if name not in there)


def _sizes(needing: Sequence[tuple[ResolvedCheckpoint, Config]]) -> dict[str, dict[str, int]]:
    """Repository -> the files of one of its commits that would be fetched."""
    one = {located.cell.location: (located, config) for located, config in needing}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip(one, pool.map(_sizes_of, one.values()), strict=True))


def _sizes_of(pair: tuple[ResolvedCheckpoint, Config]) -> dict[str, int]:
    located, config = pair
    try:
        return downloads.sizes(located.cell.location, str(located.commit), config.trust_pickle)
    except Exception:  # no network comes in many classes; what is not known is said to be so
        return {}


def _amounts(
    config: Config,
    cell: Checkpoint,
    located: ResolvedCheckpoint | None,
    here: bool,
    sizes: Mapping[str, dict[str, int]],
) -> tuple[int | None, int | None]:
    """Bytes to fetch and bytes of weights."""
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
