"""What comes back from a worker, and the order in which jobs go out."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from evalrun.grid.job_spec import JobSpec


class Status(StrEnum):
    """How a job ended, as its launcher knows it."""

    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"  # not started, because another one failed
    QUEUED = "queued"  # left to a cluster


@dataclass(frozen=True)
class JobResult:
    """One job that needs no more waiting for."""

    index: int
    status: Status
    said: str  # what the job says of itself, or why it failed
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    requests: int = 0  # that it scored


def largest_first(works: Sequence[JobSpec]) -> list[JobSpec]:
    """Of each turn large models first, so that no long job begins when the others are over; their steps together."""
    return sorted(works, key=lambda work: (work.turn, -work.cell.n_params))


class Queue:
    """Jobs that wait; a worker is told of its next one too, so that it can read that one's files ahead."""

    def __init__(self, works: Sequence[JobSpec], workers: int) -> None:
        self._waiting = deque(largest_first(works))
        self._workers = workers
        self._promised: dict[int, JobSpec] = {}

    def take(self, worker: int) -> tuple[JobSpec, JobSpec | None] | None:
        """A job for this worker and the one that it will get after it; None when there is none."""
        work = self._promised.pop(worker, None)
        if work is None and self._waiting:
            work = self._waiting.popleft()
        if work is None and self._promised:  # better here now than there later
            work = self._promised.pop(next(iter(self._promised)))
        if work is None:
            return None
        if len(self._waiting) >= self._workers:
            self._promised[worker] = self._waiting.popleft()
        return work, self._promised.get(worker)

    def put_back(self, work: JobSpec) -> None:
        """Have it tried again, before anything else."""
        self._waiting.appendleft(work)
