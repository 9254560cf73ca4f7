"""What is known of a sweep at work: which jobs ended, and what the others say in their state files."""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evalrun.journal import job_state
from evalrun.journal.job_state import JobState
from evalrun.launch.live.time_left import Spent, TimeLeft, left

_WINDOW_S = 20.0  # the recent past that a rate is of
_WARM_S = 60.0  # a job that took as long or longer is not mostly the loading of libraries
_FILES = 200  # state files looked for at a time: a file system has other things to do


@dataclass(frozen=True)
class Watched:
    """One job of a sweep."""

    model: str
    n_params: int
    state: Path  # its state file


@dataclass(frozen=True)
class Snapshot:
    """A sweep at one moment."""

    total: int  # jobs
    done: int
    failures: tuple[str, ...]  # a sentence each, the latest last
    at_work: tuple[JobState, ...]  # in the order of the sweep
    rate: float | None  # requests a second over the recent past
    left: TimeLeft | None


class Board:
    """Collects what becomes of jobs.

    Args:
        jobs: In the order of the sweep; a job is named by its place here.
    """

    def __init__(self, jobs: Sequence[Watched]) -> None:
        self._jobs = jobs
        self._lock = threading.Lock()  # jobs end in one thread and are looked at in another
        self._ended: dict[int, Spent] = {}
        self._failures: list[str] = []
        self._at_work: dict[int, JobState] = {}
        self._most = 1  # jobs that were at work at once
        self._turn = itertools.cycle(range(len(jobs)))
        self._began: float | None = None  # when the first job was seen at work, or ended
        self._requests = 0  # of the jobs that ended
        self._past: deque[tuple[float, int]] = deque()  # when, and how many requests were scored by then

    def ended(self, job: int, seconds: float, requests: int, failure: str | None = None) -> None:
        """Note that a job needs no more waiting for.

        Args:
            job: Which one.
            seconds: How long it took.
            requests: How many it scored.
            failure: Why it failed; None if it did not.
        """
        with self._lock:
            if self._began is None:
                self._began = time.monotonic() - seconds
            if failure is not None:
                self._failures.append(failure)
            measured = failure is None and requests > 0
            self._ended[job] = Spent(self._jobs[job].model, seconds, measured)
            self._requests += requests
            self._at_work.pop(job, None)

    def look(self) -> None:
        """Read the state files of jobs at work, and look for some of the others'."""
        with self._lock:
            some = itertools.islice(self._turn, min(len(self._jobs), _FILES))
            places = {job: self._jobs[job].state for job in {*self._at_work, *some} if job not in self._ended}
        read = {job: job_state.read(place) for job, place in places.items()}  # nobody waits for a slow file system
        with self._lock:
            for job, state in read.items():
                if state is not None and state.alive and job not in self._ended:
                    self._at_work[job] = state
                else:
                    self._at_work.pop(job, None)
            self._most = max(self._most, len(self._at_work))
            now = time.monotonic()
            if self._at_work and self._began is None:
                self._began = now
            self._past.append((now, self._requests + sum(state.scored for state in self._at_work.values())))
            while now - self._past[0][0] > _WINDOW_S:
                self._past.popleft()

    def snapshot(self) -> Snapshot:
        """What is known now."""
        with self._lock:
            at_work = dict(sorted(self._at_work.items()))
            return Snapshot(
                total=len(self._jobs),
                done=len(self._ended) - len(self._failures),
                failures=tuple(self._failures),
                at_work=tuple(at_work.values()),
                rate=self._rate(),
                left=self._left(at_work),
            )

    def _rate(self) -> float | None:
        if not self._past:
            return None
        (began, before), (now, scored) = self._past[0], self._past[-1]
        return (scored - before) / (now - began) if now - began >= 1 and scored > before else None

    def _left(self, at_work: dict[int, JobState]) -> TimeLeft | None:
        measured = [job.seconds for job in self._ended.values() if job.measured]
        if self._began is None or (len(measured) <= self._most and all(seconds < _WARM_S for seconds in measured)):
            return None  # the first job of a process also loads libraries
        sizes = {job.model: job.n_params for job in self._jobs}
        waiting = [job.model for i, job in enumerate(self._jobs) if i not in self._ended and i not in at_work]
        begun = [
            (self._jobs[i].model, max(0.0, time.time() - state.started_ms / 1000), _share(state))
            for i, state in at_work.items()
        ]
        return left(sizes, list(self._ended.values()), begun, waiting, time.monotonic() - self._began)


def _share(state: JobState) -> float | None:
    """How much of its requests a job has scored; None before it scores any."""
    return min(1.0, state.scored / state.requests) if state.scored and state.requests else None
