"""Where jobs' checkpoints are: the one look at each."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from evalrun import checkpoints
from evalrun.checkpoints import folder_notes, kept_commits
from evalrun.checkpoints.suites import allowed
from evalrun.core.errors import CheckpointError
from evalrun.grid.job_spec import JobSpec, Stamp

_THREADS = 8  # a hub checkpoint costs a question to the hub, a local one that is new the reading of its weights


def try_to_locate(job: JobSpec) -> checkpoints.ResolvedCheckpoint | CheckpointError:
    """Where a job's checkpoint is, or why it cannot be had; what is done needs no files, if its place is remembered."""
    if job.release.identity is not None:
        return checkpoints.ResolvedCheckpoint(job.cell, job.release.identity, None, None)
    try:
        if job.release.fault is not None:
            raise CheckpointError(job.release.fault)
        return allowed.locate(job.config, job.cell)
    except CheckpointError as error:
        return kept_commits.recall(job.cell) or error


def locate_all(jobs: Sequence[JobSpec]) -> list[tuple[Stamp, checkpoints.ResolvedCheckpoint | CheckpointError]]:
    """Where several jobs' checkpoints are, asked at once; each with its files as they were just before."""
    notes = folder_notes.notes()
    if any(job.cell.revision is not None or not notes.has(job.cell.location) for job in jobs):
        with ThreadPoolExecutor(max_workers=_THREADS) as pool:
            found = list(pool.map(_looked_at, jobs))
    else:  # threads that wait for nothing are in each other's way
        found = list(map(_looked_at, jobs))
    notes.save()
    kept_commits.remember([place for _, place in found if not isinstance(place, CheckpointError)])
    return found


def _looked_at(job: JobSpec) -> tuple[Stamp, checkpoints.ResolvedCheckpoint | CheckpointError]:
    return job.stamp(), try_to_locate(job)
