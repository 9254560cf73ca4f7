"""Python's garbage collector, kept away from what never becomes garbage.

Importing torch, transformers and lm-eval makes millions of objects that stay. The collector walks them again and again
while they are made, and at every full collection afterwards: a tenth of a short sweep's time.
"""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def importing(for_good: bool) -> Iterator[None]:
    """Collect nothing while large libraries are imported.

    Args:
        for_good: Never look again at what the process holds then, if something was imported. Not in somebody's
            program, whose objects are to be freed; and not once a model was loaded, which is to be freed too: the next
            time nothing is imported any more.
    """
    enabled, before = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
        if for_good and len(sys.modules) > before:
            gc.freeze()
    finally:
        if enabled:
            gc.enable()
