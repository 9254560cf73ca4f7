"""Independent pieces of work in processes, where there are enough of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")
MANY = 8  # pieces from which on starting processes (two seconds, once) pays: a study of so many tasks


def each(work: Callable[..., T], arguments: Sequence[tuple[Any, ...]]) -> list[T]:
    """Results of `work` for each tuple of arguments, in order.

    Args:
        work: A function of a module; pure.
        arguments: Its arguments, one tuple for each call: from MANY on, joblib's worker processes share them, one a
            core. They stay for the next call.
    """
    if len(arguments) < MANY:
        return [work(*given) for given in arguments]
    from joblib import Parallel, delayed

    return list(Parallel(n_jobs=-1)(delayed(work)(*given) for given in arguments))
