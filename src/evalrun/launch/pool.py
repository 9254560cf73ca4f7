"""Worker processes of one machine: each keeps what it has loaded, and one that is killed costs its job a second try."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import pickle
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing import connection
from pathlib import Path
from typing import Any

from tqdm import tqdm

from evalrun.core.errors import ConfigError
from evalrun.grid.job_spec import JobSpec
from evalrun.grid.launcher_settings import PoolSettings
from evalrun.journal import job_state
from evalrun.launch import gpus
from evalrun.launch.jobs import JobResult, Queue, Status
from evalrun.launch.worker import Context, Worker, enter_workspace

log = logging.getLogger(__name__)
_spawn = multiprocessing.get_context("spawn")  # a forked process cannot use CUDA
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
# Left to the process that started the workers: Ctrl-C reaches all of a terminal, USR1 and USR2 all of a SLURM job.
_LEFT = {signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2}


@dataclass(frozen=True)
class Slot:
    """A place for one worker: what its environment says that it may use."""

    name: str
    environment: Mapping[str, str]


def slots(settings: PoolSettings, device: str) -> list[Slot]:
    """The places for workers on this machine.

    Args:
        settings: How many.
        device: scorer.device: with `cpu` the GPUs are left alone, with `all` a worker has every one.

    Raises:
        ConfigError: values that cannot be right, or more GPUs for a worker than there are.
    """
    settings.check()
    found = [] if device == "cpu" else gpus.visible()
    size = max(1, len(found)) if device == "all" and settings.gpus_per_worker == 1 else settings.gpus_per_worker
    if size > max(1, len(found)):
        raise ConfigError(f"hydra.launcher.gpus_per_worker is {size}, but {len(found)} GPUs are here.")
    shares = [",".join(found[start : start + size]) for start in range(0, len(found) - size + 1, size)]
    places = len(shares) * settings.workers_per_gpu
    number = max(1, places) if settings.workers == "auto" else int(settings.workers)
    threads = _threads(settings, number)
    return [
        Slot(str(i), threads | ({"CUDA_VISIBLE_DEVICES": shares[i % len(shares)]} if shares else {}))
        for i in range(number)
    ]


def _threads(settings: PoolSettings, workers: int) -> dict[str, str]:
    if settings.threads == "auto" and "OMP_NUM_THREADS" in os.environ:
        return {}
    allotted = os.environ.get("SLURM_CPUS_PER_TASK", "")  # SLURM need not bind what it runs to them
    cores = int(allotted) if allotted.isdigit() else len(os.sched_getaffinity(0))
    share = max(1, cores // workers) if settings.threads == "auto" else int(settings.threads)
    return dict.fromkeys(_THREADS, str(share))


def run(
    context: Context,
    works: Sequence[JobSpec],
    places: Sequence[Slot],
    retries: int,
    stopping: Callable[[], bool],
    logs: Path,
) -> Generator[JobResult]:
    """Run jobs on worker processes and yield each as it ends.

    Args:
        context: What they share.
        works: The jobs.
        places: One worker each.
        retries: How often a job is tried again whose worker died.
        stopping: Once true, no job is started any more; those at work are finished.
        logs: A folder for what workers print: one file a worker, kept if it died.
    """
    payload = pickle.dumps(context)
    logs.mkdir(parents=True, exist_ok=True)
    queue, lost = Queue(works, len(places)), Counter[int]()
    crew: dict[int, _Member] = {}
    try:
        while True:
            for number, slot in enumerate(places):
                member = crew.get(number)
                if (member and member.work) or stopping():
                    continue
                taken = queue.take(number)
                if taken is None:
                    break
                if member is None:
                    member = crew[number] = _Member(slot, payload, logs)
                member.give(*taken)
            busy = {number: member for number, member in crew.items() if member.work}
            if not busy:
                return
            ready = connection.wait([thing for member in busy.values() for thing in member.signs])
            for number, member in busy.items():
                if not any(sign in ready for sign in member.signs):
                    continue
                work, done = member.work, member.take()
                if done is None and work is not None:
                    del crew[number]
                    lost[work.index] += 1
                    if lost[work.index] <= retries and not stopping():
                        log.warning("%s: %s; tried again on a new one", work.cell.label, member.how_it_ended())
                        queue.put_back(work)
                        continue
                    times = "" if lost[work.index] == 1 else f", {lost[work.index]} times in all"
                    said = f"{work.cell.label}: {member.how_it_ended()}{times}{member.advice()}"
                    done = JobResult(work.index, Status.FAILED, said)
                if done is not None:
                    yield done
    finally:
        for member in crew.values():
            member.end()


class _Member:
    """A worker process, seen from the process that started it."""

    def __init__(self, slot: Slot, payload: bytes, logs: Path) -> None:
        self.work: JobSpec | None = None
        self.pipe, theirs = _spawn.Pipe()
        self.log = logs / f"{socket.gethostname()}-{os.getpid()}-{slot.name}.log"
        self.process = _spawn.Process(target=_serve, args=(theirs, payload, str(self.log)), name=f"worker-{slot.name}")
        with _environment(slot.environment), _blocked():
            self.process.start()
        theirs.close()

    @property
    def signs(self) -> list[Any]:
        """Each becomes readable when there is something to learn."""
        return [self.pipe, self.process.sentinel]

    def give(self, work: JobSpec, following: JobSpec | None) -> None:
        self.work = work
        with contextlib.suppress(OSError):  # it died since: `take` finds out
            self.pipe.send((work, following))

    def take(self) -> JobResult | None:
        """How its job ended; None if the worker died with it."""
        self.work = None
        try:
            found: JobResult | None = self.pipe.recv() if self.pipe.poll() else None
        except (EOFError, OSError):
            found = None
        if found is None:
            self.end()
        return found

    def how_it_ended(self) -> str:
        code = self.process.exitcode or 0
        if code >= 0:
            return f"its worker ended with exit code {code}"
        return f"its worker was killed by {signal.Signals(-code).name}"

    def advice(self) -> str:
        where = f"; see '{self.log}'" if self.log.exists() else ""
        if self.process.exitcode == -signal.SIGKILL:
            return f", as happens when memory runs out: try fewer workers or a smaller scorer.token_budget{where}."
        return f"{where or '; run it alone, without -m, to see why'}."

    def end(self) -> None:
        """Kill it if it lives: what it has journalled is whole, and nothing else is kept in it."""
        lives, work = self.process.is_alive(), self.work
        well = lives and work is None
        self.pipe.close()
        self.process.kill()
        self.process.join()
        if lives and work is not None and self.process.pid is not None:
            job_state.ended_by_us(work.state, self.process.pid)
        if well:  # what it printed is of no more use; its jobs have logs of their own
            self.log.unlink(missing_ok=True)


def _serve(pipe: Any, payload: bytes, log_file: str) -> None:
    """In the worker: jobs come, results go, until the pipe is closed."""
    _end_with_parent()
    _print_to(log_file)
    context = pickle.loads(payload)
    enter_workspace(replace(context, environment={}))  # the environment is here
    worker = Worker(context)
    with contextlib.suppress(EOFError, OSError):
        while True:
            work, following = pipe.recv()
            worker.expect([work] if following is None else [work, following])
            pipe.send(worker.run(work))


def _end_with_parent() -> None:
    """Leave no worker behind a command that was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        sentinel = parent.sentinel

        def watch() -> None:
            connection.wait([sentinel])
            os._exit(1)

        threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def _print_to(log_file: str) -> None:
    """What libraries print must not get between the lines of the command."""
    tqdm.set_lock(threading.RLock())  # its own is a semaphore of the system, left behind by a process that is killed
    out = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.close(out)


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """For a process that is started now: libraries read it when they are loaded."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _blocked() -> Iterator[None]:
    """Signals that a process started now shall never see; for this one they are only late."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _LEFT)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
