"""What is left to do of a sweep when it starts, and what is done when its jobs have run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from evalrun.checkpoints import audit
from evalrun.checkpoints.folder_notes import notes
from evalrun.core.errors import CheckpointError
from evalrun.grid import job_keys, namesakes
from evalrun.grid.job_spec import JobResults, JobSpec
from evalrun.grid.locating import locate_all
from evalrun.progress import of
from evalrun.tracking import Store
from evalrun.tracking.layout import RunEntry
from evalrun.tracking.sweep_tags import is_closed, new_tags


@dataclass(frozen=True)
class SweepStart:
    """What is left of a sweep's jobs when it starts."""

    done: set[int]  # positions of those that are computed and delivered
    refused: dict[int, CheckpointError]  # of those whose weights are another step's
    todo: list[JobSpec]  # the others, in the order in which they are to go out
    jobs: list[JobSpec]  # all of them, with what was found out of them, as the sweep's


def start(jobs: Sequence[JobSpec], sweep: str) -> SweepStart:
    """Which jobs need not start, because nothing is left to compute or deliver, and which must not.

    A finished sweep is recognised in seconds, and no launcher queues a job for work that is done. The checkpoints
    themselves are looked at, so that one that was replaced is computed again whatever its results say.

    Args:
        jobs: The jobs.
        sweep: The multirun that wants them, noted on the runs that are done.

    Raises:
        EvalrunError: when tasks or the store cannot be read, or no checkpoint at all can be found; one checkpoint's
            own fault is left to its job.
    """
    with notes().one_look():  # after the jobs' stamps: what changes meanwhile is seen when its job begins
        return _started(jobs, sweep)


def _started(jobs: Sequence[JobSpec], sweep: str) -> SweepStart:
    """`start`, by one look at each folder.

    Args:
        jobs: The jobs.
        sweep: The multirun that wants them.

    Raises:
        EvalrunError: as `start` says.
    """
    store = Store(jobs[0].config.tracking)
    seen = locate_all(jobs)
    places = [place for _, place in seen]
    faults = [place for place in places if isinstance(place, CheckpointError)]
    if len(faults) == len(places):
        raise CheckpointError(f"none of the {len(places)} checkpoints can be had; the first: {faults[0]}")
    held = {suite: store.filed(suite) for suite in {job.cell.suite for job in jobs}}
    there = {at: place for at, place in enumerate(places) if not isinstance(place, CheckpointError)}
    entries = of([jobs[at] for at in there], held, {i: place.identity for i, place in enumerate(there.values())})
    known = dict(zip(there, entries, strict=True))
    done = {at for at, entry in known.items() if entry.state == "done" and not jobs[at].config.force}
    runs = ((known[at].suite, str(known[at].run_key)) for at in done)
    _mark(store, [(suite, key) for suite, key in runs if not _is_marked(held[suite].get(key), sweep)], sweep)
    refused: dict[int, CheckpointError] = {}
    if len(done) < len(jobs):
        configs = [job.config for job in jobs]
        namesakes.refuse(configs, places, store.filed)
        refused = audit.refusals(configs, [namesakes.here(place) for place in places], store.table)
        refused = {at: error for at, error in refused.items() if at not in done}
    store.tokens.settle([jobs[at].cell for at in there], held)  # none of them has another run's name
    results = {at: JobResults(there[at], str(known[at].run_key), known[at].keys, seen[at][0]) for at in there}
    ours = [replace(job.of_sweep(sweep), results=results.get(at)) for at, job in enumerate(jobs)]
    todo = [job for at, job in enumerate(ours) if at not in done and at not in refused]
    return SweepStart(done, refused, sorted(todo, key=lambda job: job.turn), ours)


def delivered(jobs: Sequence[JobSpec], sweep: str) -> set[int]:
    """Positions of the jobs whose results are all in the store, by the keys that they started with.

    Args:
        jobs: As `start` gave them, after they ran.
        sweep: The multirun, noted on their runs.

    Raises:
        TrackingError: the store cannot be read.
    """
    store = Store(jobs[0].config.tracking)
    held = {suite: store.filed(suite) for suite in {job.cell.suite for job in jobs}}
    found: dict[int, tuple[str, str]] = {}
    for at, job in enumerate(jobs):
        run = held[job.cell.suite].get(job.results.run_key) if job.results is not None else None
        names = {file.name for file in job.asked}
        if job.results and run and all(run.tasks.get(name) == job.results.keys[name] for name in names):
            found[at] = job.cell.suite, job.results.run_key
    _mark(store, found.values(), sweep)
    return set(found)


def _is_marked(run: RunEntry | None, sweep: str) -> bool:
    """Whether nothing is to be noted on a run: it is closed, and this sweep was the last that wanted it."""
    return run is not None and is_closed(run) and not new_tags(run, sweep)


def _mark(store: Store, runs: Iterable[tuple[str, str]], sweep: str) -> None:
    by_suite: dict[str, list[str]] = defaultdict(list)
    for suite, run_key in runs:
        by_suite[suite].append(run_key)
    for suite, run_keys in by_suite.items():
        store.mark_all(suite, run_keys, sweep)


def wanted_keys(jobs: Sequence[JobSpec]) -> set[str]:
    """The keys of all task results that jobs are for.

    Raises:
        CheckpointError: a checkpoint that cannot be found.
    """
    keys: set[str] = set()
    for job, (_, located) in zip(jobs, locate_all(jobs), strict=True):
        if isinstance(located, CheckpointError):
            raise located
        keys.update(job_keys.keys_by_identity(job.config, located.identity, job.files, job.cell)[1].values())
    return keys
