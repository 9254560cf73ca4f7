"""What a job is at, for others to see: a small file in its folder while it works, or after it failed; none when done.

A running job renews its file every few seconds from a thread, so that one which was killed is told from one at work;
while it scores, once a second, so that a sweep's live view and `status` show how far it is.
Nothing here ever makes a job fail, and nothing a job computes depends on it: results are in the journal.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from evalrun.core import console
from evalrun.core.atomic import replace_file
from evalrun.core.errors import EvalrunError, first_line
from evalrun.core.process import is_alive, place_of_processes

log = logging.getLogger(__name__)
RUNNING, FAILED = "running", "failed"
MISSED = 4  # signs of life that may be late or lost before a job counts as dead
_PROGRESS_S = 1.0  # at most so often is progress written


@dataclass(frozen=True)
class JobState:
    """What a job's file says."""

    state: str  # running or failed
    suite: str
    model: str
    seed: int | None
    step: int
    label: str  # the checkpoint in words
    tasks: list[str]  # what the job was asked for
    sweep: str | None
    every_s: float  # how often a running job renews this
    run_key: str | None = None  # as in the journal; None before the checkpoint is found
    doing: str = ""  # scoring memo_trap
    requests: int = 0  # of the tasks that it scores; 0 before it does
    scored: int = 0  # of them, so far
    gpu_memory: dict[str, int] | None = None  # bytes it holds on its GPUs: allocated, peak, total; None without one
    cause: str = ""  # of a failure, one line
    host: str = ""
    place: str = ""  # host, boot and process namespace: where the pid means something
    pid: int = 0
    started_ms: int = 0
    seen_ms: int = 0  # Unix time in milliseconds when this was written

    @property
    def alive(self) -> bool:
        """Whether a running job is at work still: its sign of life is fresh, and its process there if this host's."""
        if self.state != RUNNING or _now() - self.seen_ms > 1000 * MISSED * self.every_s:
            return False
        return self.place != place_of_processes() or is_alive(self.pid)


class RequestCounter:
    """Requests that this process has scored, of all its jobs: what a launcher's line of progress is made from."""

    def __init__(self) -> None:
        self.requests = 0


@dataclass
class JobReporter:
    """One job's file, written as the job goes on."""

    path: Path
    about: JobState
    tally: RequestCounter = field(default_factory=RequestCounter)
    _scored: int = 0
    _news: bool = False  # something is to be written that is no number
    _memory: Callable[[], dict[str, int] | None] = lambda: None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _end: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def doing(self, what: str, run_key: str | None = None) -> None:
        """Say what the job is at; on disk at once, or in a second if the file was written this very second."""
        with self._lock:
            self.about = replace(self.about, doing=what, run_key=run_key or self.about.run_key)
            self._news = True
            if self._thread is not None and _now() - self.about.seen_ms > 1000 * _PROGRESS_S:
                self._write()

    @contextmanager
    def scoring(self, requests: int, memory: Callable[[], dict[str, int] | None]) -> Iterator[Callable[[int], None]]:
        """While the block lasts requests are scored: a bar shows it here, and the file elsewhere.

        Args:
            requests: How many there are.
            memory: Tells what the job holds on its GPUs, as `JobState.gpu_memory` has it.

        Yields:
            What is to be called with a number of requests whenever so many more are done.
        """
        with console.bar(requests, self.about.label, "request") as bar:

            def tick(number: int) -> None:
                self._scored += number
                self.tally.requests += number
                bar.update(number)

            with self._lock:
                self.about = replace(self.about, requests=requests)
            self._memory = memory
            yield tick

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Be seen at work; inside the folder's lock, because another job's file may have the same name."""
        self._write()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()
        try:
            yield
        except (Exception, SystemExit) as error:
            self.failed(error)
            raise
        finally:
            with self._lock:
                if not self._end.is_set():
                    self._end.set()
                    _quietly(self.path.unlink)

    def failed(self, error: BaseException) -> None:
        """Leave the cause behind, unless that was done or another process is at work here."""
        with self._lock:
            there = None if self._thread is not None else read(self.path)
            if self._end.is_set() or (there is not None and there.alive):
                return
            self._end.set()
        kind = "" if isinstance(error, EvalrunError) else f"{type(error).__name__}: "
        self.about = replace(self.about, state=FAILED, cause=kind + first_line(error) + ".")
        self._write()

    def _beat(self) -> None:
        while not self._end.wait(min(_PROGRESS_S, self.about.every_s)):
            with self._lock:
                due = _now() - self.about.seen_ms >= 1000 * self.about.every_s
                if not self._end.is_set() and (due or self._news or self._scored != self.about.scored):
                    self._write()

    def _write(self) -> None:
        self.about = replace(self.about, scored=self._scored, gpu_memory=self._held(), seen_ms=_now())
        self._news = False
        _quietly(lambda: replace_file(self.path, json.dumps(asdict(self.about))))

    def _held(self) -> dict[str, int] | None:
        try:
            return self._memory()
        except Exception as error:  # a driver's word is not worth a job
            log.debug("what is held on the GPU cannot be asked: %s", first_line(error))
            return None


@contextmanager
def watched(folder: Path, name: str, about: JobState, tally: RequestCounter | None = None) -> Iterator[JobReporter]:
    """Watch a job from its first moment: whatever ends it is noted in its folder.

    Args:
        folder: The job's.
        name: Tells jobs of one folder apart, such as two few-shot settings.
        about: What is known of the job; where and when it runs is filled in.
        tally: Counts what it scores, with other jobs of this process.
    """
    here = replace(about, host=socket.gethostname(), place=place_of_processes(), pid=os.getpid(), started_ms=_now())
    work = JobReporter(path_of(folder, name), here, tally or RequestCounter())
    try:
        yield work
    except (Exception, SystemExit) as error:  # a user's task code may call sys.exit
        work.failed(error)
        raise


def path_of(folder: Path, name: str) -> Path:
    """Where the state of a job is."""
    return folder / f"state-{name[:12]}.json"


def read(path: Path) -> JobState | None:
    """What the file says, or None: not there, or nothing that can be read."""
    try:
        return _from(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def ended_by_us(path: Path, pid: int) -> None:
    """Take away what a job says that was ended with its process: nobody need wonder what became of it."""
    state = read(path)
    if state is not None and (state.state, state.pid, state.place) == (RUNNING, pid, place_of_processes()):
        _quietly(path.unlink)


def read_all(folder: Path) -> list[JobState]:
    """What all jobs of a folder say."""
    return [state for path in sorted(folder.glob("state-*.json")) if (state := read(path)) is not None]


def _from(data: Mapping[str, Any]) -> JobState:
    known = JobState.__dataclass_fields__
    return JobState(**{key: value for key, value in data.items() if key in known})


def _quietly(act: Any) -> None:
    try:
        act()
    except OSError as error:
        log.debug("a job's state could not be kept: %s", first_line(error))


def _now() -> int:
    return int(time.time() * 1000)
