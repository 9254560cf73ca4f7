"""Which checkpoint a job's results are of, from what the results say: no hub is asked and no weight is read for it.

Only where a local checkpoint may be newer than its results, or they are of another folder, is it looked at itself.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence

from evalrun import checkpoints
from evalrun.checkpoints.folder_notes import notes
from evalrun.checkpoints.suites import allowed
from evalrun.core.errors import CheckpointError
from evalrun.core.records import Checkpoint
from evalrun.grid import namesakes
from evalrun.grid.job_spec import JobSpec
from evalrun.journal import result_files
from evalrun.tracking.layout import RunEntry


def by_store(job: JobSpec, runs: Sequence[RunEntry]) -> Iterator[str]:
    """Identities that runs of a job's cell may be of, the newest run first; none that its checkpoint is newer than.

    Args:
        job: The job.
        runs: Those that the store has of its cell.
    """
    if job.config.checkpoint.convert is not None:
        yield from _of_now(job, {run.identity for run in runs})
        return
    for run in sorted(runs, key=_finished, reverse=True) if len(runs) > 1 else runs:
        if run.identity is not None and may_be_of(job, run.folder) and not _is_newer_than(job.cell, run):
            yield _with_tokens(job, run.identity)


def by_results(job: JobSpec, journal: Mapping[str, int], runs: Sequence[RunEntry]) -> str | None:
    """The identity that the newest result in a job's journal says, or its newest run in the store.

    Args:
        job: The job.
        journal: Names of the records in its folder, and when each was written.
        runs: Those that the store has of its cell.

    Returns:
        None without results.
    """
    said = None
    for name in sorted(journal, key=lambda name: journal[name], reverse=True):
        result = result_files.record_of(job.folder / result_files.FOLDER / name)
        if result is not None:
            said = result.settings.get("identity")
            if not may_be_of(job, result.settings.get("folder")):
                break
            is_converted = job.config.checkpoint.convert is not None  # which its command determines too
            if isinstance(said, str) and not is_converted and not _is_newer(job.cell, result.finished_ms):
                return _with_tokens(job, said)
            break
    else:
        if not runs:
            return None
        if (known := next(by_store(job, runs), None)) is not None:
            return known
    try:  # results of an earlier version or of another folder, or a checkpoint that changed after them
        return allowed.locate(job.config, job.cell).identity
    except CheckpointError:
        return said


def _of_now(job: JobSpec, known: set[str | None]) -> Iterator[str]:
    """The identity of a job's checkpoint by its files, if it is one of those."""
    with contextlib.suppress(CheckpointError):
        if (identity := allowed.locate(job.config, job.cell).identity) in known:
            yield identity


def may_be_of(job: JobSpec, folder: object) -> bool:
    """Whether a result computed in a folder is taken for a job's unseen; if not, its run was moved, or is another."""
    return folder is None or namesakes.folder_of(job.config) in (folder, None)


def _finished(run: RunEntry) -> int:
    return max(run.finished_ms.values(), default=0)


def _is_newer_than(cell: Checkpoint, run: RunEntry) -> bool:
    return cell.revision is None and _is_newer(cell, _finished(run))


def _with_tokens(job: JobSpec, identity: str) -> str:
    """An identity with what the following of a tokenizer's file adds to it."""
    bare = checkpoints.without_mark(identity)
    return allowed.by_tokens(job.config, allowed.named(job.cell, bare)).identity


def _is_newer(cell: Checkpoint, finished_ms: int) -> bool:
    """Whether a local checkpoint may have been written after its results.

    Args:
        cell: The checkpoint.
        finished_ms: When the results were there, by the clock of the machine that computed them. A time that is still
            to come tells nothing: that clock was ahead, or this one was set back.
    """
    if cell.revision is not None:
        return False
    if finished_ms > time.time() * 1000:
        return True
    # The time of change of the inode too: a copy may keep the date of its source.
    return any(max(changed, moved) > finished_ms * 1_000_000 for *_, changed, moved in notes().entries(cell.location))
