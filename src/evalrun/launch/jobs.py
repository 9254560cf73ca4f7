"""What goes to a worker and what comes back: plain values that any process can read."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from evalrun.core.records import Checkpoint


@dataclass(frozen=True)
class LaunchedJob:
    """One job on its way to a worker."""

    index: int
    overrides: tuple[str, ...]
    cell: Checkpoint
    resources: Mapping[str, float] = field(default_factory=dict)  # what its model's config asks for: cpus, gpus
    state: str = ""  # the file in which it says what it is at, from the command's folder

    @property
    def key(self) -> str:
        """What tells it from the other jobs of a sweep, in this launch and the next."""
        return " ".join(self.overrides)


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


def largest_first(works: Sequence[LaunchedJob]) -> list[LaunchedJob]:
    """Large models first, so that no long job begins when the others are over; one model's steps stay together."""
    return sorted(works, key=lambda work: -work.cell.n_params)


class Queue:
    """Jobs that wait; a worker is told of its next one too, so that it can read that one's files ahead."""

    def __init__(self, works: Sequence[LaunchedJob], workers: int) -> None:
        self._waiting = deque(largest_first(works))
        self._workers = workers
        self._promised: dict[int, LaunchedJob] = {}

    def take(self, worker: int) -> tuple[LaunchedJob, LaunchedJob | None] | None:
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

    def put_back(self, work: LaunchedJob) -> None:
        """Have it tried again, before anything else."""
        self._waiting.appendleft(work)
