"""Work in a second process beside this one, where the machine has a core for it.

The process is forked: it sees all that there is, and only what it finds is sent back. Forking is safe where the process
is known: so it is done in commands that ask for it, and not in somebody's program, whose threads may hold locks.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from multiprocessing.connection import Connection
from typing import Any, TypeVar, cast

from evalrun.core.errors import EvalrunError
from evalrun.core.garbage import give_back
from evalrun.core.stages import unclocked

_SIGNALS = {signal.SIGINT, signal.SIGTERM}
_PATIENCE_S = 60.0  # for a transaction that is to be rolled back
_LATER = 10  # steps of nice: a tenth of a core that another process wants
T = TypeVar("T")
_may_fork: ContextVar[bool] = ContextVar("evalrun.second_process", default=False)


@contextmanager
def on_two_cores() -> Iterator[None]:
    """Let the work of the block go on in two processes, where there are two cores and a process can be forked."""
    token = _may_fork.set(sys.platform == "linux" and len(os.sched_getaffinity(0)) > 1)
    try:
        yield
    finally:
        _may_fork.reset(token)


@contextmanager
def beside(work: Callable[[], T], stays_here: bool = False, can_wait: bool = False) -> Iterator[Callable[[], T]]:
    """Have work done while the block goes on; what is yielded waits for its result, and raises what it raised.

    Where no process may be forked the work is done when its result is asked for.

    Args:
        work: Changes nothing but files; what it returns can be pickled.
        stays_here: Whether it is done in this process all the same, as what takes further processes of its own is.
        can_wait: Whether its result is asked for late: where cores are few, other work goes before it.

    Raises:
        EvalrunError: on asking for the result, when the process was killed.
    """
    if stays_here or not _may_fork.get():
        yield work
        return
    with _working(work, can_wait) as (ours, process):
        yield lambda: cast(T, _told(*_heard(ours, process)))


def done_while(work: Callable[[], T], steps: Iterable[Callable[[], object]]) -> T:
    """Have work done beside this process, which takes one step after the other until that is done.

    Where no process may be forked no step is taken.

    Args:
        work: As for `beside`.
        steps: What will be wanted afterwards, in small pieces: the one that is begun is waited for.

    Returns:
        What the work returned.

    Raises:
        EvalrunError: the process was killed; or what the work raised.
    """
    if not _may_fork.get():
        return work()
    with _working(work) as (ours, process):
        for step in steps:
            if ours.poll():
                break
            step()
        return cast(T, _told(*_heard(ours, process)))


@contextmanager
def _working(work: Callable[[], Any], can_wait: bool = False) -> Iterator[tuple[Connection, Any]]:
    """A process that does one piece of work and the pipe that it answers by; it is ended with the block."""
    give_back()  # the new process begins as large as this one is
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_answer, args=(work, theirs, can_wait), daemon=True)
    _start(process)
    theirs.close()
    try:
        yield ours, process
    finally:
        _end(ours, process)


class Helper:
    """A process beside this one that does one order after another, until it is closed.

    Where no process may be forked each is done at once; so it is where `forks` is False.

    Args:
        forks: Whether there is to be such a process.
        can_wait: As for `beside`.
    """

    def __init__(self, forks: bool = True, can_wait: bool = False) -> None:
        self.is_beside = forks and _may_fork.get()
        if not self.is_beside:
            return
        context = multiprocessing.get_context("fork")
        self._orders, (self._answers, theirs) = context.Queue(), multiprocessing.Pipe(duplex=False)
        self._process = context.Process(target=_serve, args=(self._orders, theirs, can_wait), daemon=True)
        self._asked, self._heard = 0, list[tuple[bool, Any]]()
        _start(self._process)
        theirs.close()

    def ask(self, work: Callable[..., T], *arguments: Any) -> Callable[[], T]:
        """Have a function of a module called; what is returned waits for its result, and raises what it raised."""
        if not self.is_beside:
            found = work(*arguments)
            return lambda: found
        number, self._asked = self._asked, self._asked + 1
        self._orders.put((work, arguments))
        return lambda: cast(T, self._result(number))

    def _result(self, number: int) -> Any:
        while len(self._heard) <= number:
            self._heard.append(_heard(self._answers, self._process))
        return _told(*self._heard[number])

    def close(self) -> None:
        """End it, whatever it is at."""
        if self.is_beside:
            self._orders.cancel_join_thread()
            self._orders.close()
            _end(self._answers, self._process)


def _start(process: Any) -> None:
    with warnings.catch_warnings():
        # From Python 3.12 on; the thread that draws the line of progress is not needed in the new process.
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # until the new process has handlers of its own
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(pipe: Connection, process: Any) -> None:
    pipe.close()
    process.terminate()
    process.join(_PATIENCE_S)
    if process.is_alive():  # at something that heeds no signal
        process.kill()
        process.join()


def _become_a_helper(can_wait: bool, on_term: Any = signal.SIG_DFL) -> None:
    """In the new process: leave Ctrl-C, the line of progress and further processes to the other."""
    if can_wait:
        os.nice(_LATER)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, on_term)
    threading.Thread(target=_end_after_parent, daemon=True).start()  # signals are blocked: the main thread gets them
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    _may_fork.set(False)
    unclocked()


def _end_after_parent() -> None:
    """End this process once the other is gone, killed without a word: it would wait for orders for ever."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _answer(work: Callable[[], Any], pipe: Connection, can_wait: bool) -> None:
    """In the new process: do one piece of work."""
    _become_a_helper(can_wait)
    pipe.send(_done(work, ()))


def _serve(orders: Any, pipe: Connection, can_wait: bool) -> None:
    """In the new process: do what is ordered, until it is ended, which leaves no transaction half done."""
    _become_a_helper(can_wait, lambda *_: sys.exit(0))
    while True:
        pipe.send(_done(*orders.get()))


def _done(work: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[bool, Any]:
    """Whether it was done, and what it returned or raised."""
    try:
        return True, work(*arguments)
    except (EvalrunError, OSError) as error:  # anything else ends the process with its traceback
        return False, error


def _heard(pipe: Connection, process: Any) -> tuple[bool, Any]:
    try:
        return cast(tuple[bool, Any], pipe.recv())
    except EOFError:
        process.join()
        raise EvalrunError(
            f"a helper process ended with {process.exitcode}, perhaps for want of memory; run the same again."
        ) from None


def _told(is_done: bool, found: Any) -> Any:
    if not is_done:
        raise found
    return found
