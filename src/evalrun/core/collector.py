"""Python's garbage collector, kept away from what never becomes garbage.

Importing torch, transformers and lm-eval makes millions of objects that stay. The collector walks them again and again
while they are made, and at every full collection afterwards: a tenth of a short sweep's time.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Collect nothing while large libraries are imported, and never look at what they made again.

    Not for code that makes what is to be freed later, such as a model.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if enabled:
            gc.enable()
