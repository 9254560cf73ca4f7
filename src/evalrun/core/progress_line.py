"""What work that takes long is at: one line of a terminal, written again and again; elsewhere a line now and then."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from evalrun.core.console import can_redraw
from evalrun.core.stages import StageClock, clocked

SHOWN_FROM = 2.0  # seconds: what is over sooner says nothing
_REDRAWN = 0.5  # seconds between two looks
_SPARSE = (10.0, 3.0)  # elsewhere: seconds to the second line, and how many times longer to each further one
_CLEAR = "\r\x1b[K"


@contextmanager
def watched(what: str) -> Iterator[StageClock]:
    """Say on standard error what the block is at, from two seconds on.

    The line is there only within a stage: what is printed between stages stands alone.

    Args:
        what: The work, such as `analysis`.

    Yields:
        The clock of its stages.
    """
    line, end = _Line(what), threading.Event()
    clock = StageClock(line.clear)
    thread = threading.Thread(target=line.draw, args=(clock, end), name="progress-line", daemon=True)
    thread.start()
    try:
        with clocked(clock):
            yield clock
    finally:
        end.set()
        thread.join(timeout=5)
        line.clear()


class _Line:
    """Draws, and takes away what it has drawn."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._in_place = can_redraw()
        self._stream = sys.stderr
        self._lock = threading.Lock()
        self._is_there = False

    def draw(self, clock: StageClock, end: threading.Event) -> None:
        """Until the end: again at each look on a terminal, ever more seldom elsewhere."""
        due, more = SHOWN_FROM, _SPARSE[0]
        while not end.wait(_REDRAWN):
            took = clock.whole()
            with self._lock:
                at = clock.at  # a stage that ends now waits for the lock, to take the line away
                if took < due or not at:
                    continue
                self._write(f"{self._what}: {at}, {took:.0f} s")
            if not self._in_place:
                due, more = took + more, more * _SPARSE[1]

    def clear(self) -> None:
        """Leave the terminal's line empty."""
        with self._lock:
            if self._is_there:
                self._put(_CLEAR)
                self._is_there = False

    def _write(self, text: str) -> None:
        wide = shutil.get_terminal_size().columns - 1
        self._put(f"{_CLEAR}{text[:wide]}\r" if self._in_place else f"{text}\n")
        self._is_there = self._in_place

    def _put(self, text: str) -> None:
        with suppress(OSError, ValueError):  # a closed terminal is not worth losing work for
            self._stream.write(text)
            self._stream.flush()
