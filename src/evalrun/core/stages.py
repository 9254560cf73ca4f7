"""The stages of a long piece of work: which one it is at, and what each of them took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

REST = "all else"


class StageClock:
    """Counts the seconds of each stage; of stages within one another the innermost counts.

    One thread goes through the stages; another may read `at`.

    Args:
        between: Is called when the work is at no stage any more.
    """

    def __init__(self, between: Callable[[], None] | None = None) -> None:
        self._between = between
        self.at = ""  # the stage that the work is at; empty between two
        self._began = self._since = time.perf_counter()
        self._open: list[str] = []
        self._seconds: dict[str, float] = {}  # in the order in which the stages first began

    def enter(self, name: str) -> None:
        """A stage begins."""
        self._book()
        self._open.append(name)
        self._seconds.setdefault(name, 0.0)
        self.at = name

    def leave(self) -> None:
        """The innermost stage ends."""
        self._book()
        self._open.pop()
        self.at = self._open[-1] if self._open else ""
        if not self._open and self._between is not None:
            self._between()

    def whole(self) -> float:
        """Seconds since the clock was made."""
        return time.perf_counter() - self._began

    def seconds(self) -> dict[str, float]:
        """Stage -> wall-clock seconds up to now, and what was spent between stages; they sum to the whole."""
        self._book()
        return {**self._seconds, REST: self._since - self._began - sum(self._seconds.values())}

    def _book(self) -> None:
        """Give the time since the last change to the stage that it was spent in."""
        now = time.perf_counter()
        if self._open:
            self._seconds[self._open[-1]] += now - self._since
        self._since = now


_clock: ContextVar[StageClock | None] = ContextVar("evalrun.stages", default=None)


@contextmanager
def clocked(clock: StageClock) -> Iterator[None]:
    """Have the stages of the block counted."""
    token = _clock.set(clock)
    try:
        yield
    finally:
        _clock.reset(token)


def unclocked() -> None:
    """Count no stages from here on: another process does."""
    _clock.set(None)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """The block, or the function that this decorates, is a stage of the work; where no clock runs, nothing happens."""
    clock = _clock.get()
    if clock is None:
        yield
        return
    clock.enter(name)
    try:
        yield
    finally:
        clock.leave()


def timings(clock: StageClock) -> str:
    """A line a stage, in the order of the work, with its seconds and its share of the whole, which is the last line."""
    spent = clock.seconds()
    whole = sum(spent.values())
    wide = max(map(len, spent))
    lines = [f"  {name:<{wide}} {took:8.2f} s {took / whole if whole else 0:5.0%}" for name, took in spent.items()]
    return "\n".join(["what took the time:", *lines, f"  {'in all':<{wide}} {whole:8.2f} s"])
