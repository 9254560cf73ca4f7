"""Python's search for garbage in cycles, made rarer or switched off while many objects are made that have none; and
memory that is free, given back to the system.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import sys
from collections.abc import Iterator

_NEW, _YOUNG, _OLD = 100_000, 20, 100  # Python's own: 700, 10, 10


@contextlib.contextmanager
def without_search() -> Iterator[None]:
    """Spare a fifth to a half of the time: every so many new objects set off a search through all that there are."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextlib.contextmanager
def rarer_search() -> Iterator[None]:
    """Spare a tenth of the time where cycles are made too, as figures are: memory stays what it was."""
    before = gc.get_threshold()
    gc.set_threshold(*(max(own, least) for own, least in zip(before, (_NEW, _YOUNG, _OLD), strict=True)))
    try:
        yield
    finally:
        gc.set_threshold(*before)


def spare_the_last_search() -> None:
    """Have the interpreter not go through all that there is as it ends: half a second after a large analysis."""
    atexit.register(gc.freeze)


def give_back() -> None:
    """Give free memory back: Arrow and the C library keep it, after work on a million results more than is in use."""
    if (arrow := sys.modules.get("pyarrow")) is not None:
        arrow.default_memory_pool().release_unused()
    with contextlib.suppress(OSError, AttributeError):  # of glibc alone
        ctypes.CDLL(None).malloc_trim(0)
