"""Independent pieces of work in processes, where there is enough of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

T = TypeVar("T")
MANY = 20_000  # rows of a study from which on starting processes (a second or two) pays


def each(work: Callable[..., T], arguments: Iterable[tuple[Any, ...]], rows: int) -> list[T]:
    """Results of `work(*a)` for each `a`, in order.

    Args:
        work: A function of a module; pure.
        arguments: Its arguments, one tuple for each call.
        rows: The study's size: from MANY on, joblib's worker processes share the work (one a core).
    """
    if rows < MANY:
        return [work(*given) for given in arguments]
    from joblib import Parallel, delayed

    return list(Parallel(n_jobs=-1)(delayed(work)(*given) for given in arguments))
