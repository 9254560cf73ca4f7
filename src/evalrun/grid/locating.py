"""Where jobs' checkpoints are: the one look at each."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from evalrun import checkpoints
from evalrun.checkpoints import downloads, folder_notes
from evalrun.checkpoints.suites import allowed
from evalrun.core.errors import CheckpointError
from evalrun.grid.job_spec import JobSpec, Stamp


def try_to_locate(job: JobSpec) -> checkpoints.ResolvedCheckpoint | CheckpointError:
    """Where a job's checkpoint is, or why it cannot be had; what is done needs no files, if its place is remembered."""
    if job.release.identity is not None:
        return checkpoints.ResolvedCheckpoint(job.cell, job.release.identity, None, None)
    try:
        if job.release.fault is not None:
            raise CheckpointError(job.release.fault)
        return allowed.locate(job.config, job.cell)
    except CheckpointError as error:
        return downloads.recall(job.cell) or error


def locate_all(jobs: Sequence[JobSpec]) -> list[tuple[Stamp, checkpoints.ResolvedCheckpoint | CheckpointError]]:
    """Where several jobs' checkpoints are, asked at once; each with its files as they were just before."""
    with ThreadPoolExecutor(max_workers=8) as pool:  # a hub checkpoint costs a question to the hub
        found = list(pool.map(lambda job: (job.stamp(), try_to_locate(job)), jobs))
    folder_notes.notes().save()
    downloads.remember([place for _, place in found if not isinstance(place, CheckpointError)])
    return found
