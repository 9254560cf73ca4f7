"""Python's search for garbage in cycles, switched off while many objects are made that have none."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


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
