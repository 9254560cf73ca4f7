"""Independent pieces of work in processes, where there are enough of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


def each(work: Callable[..., T], arguments: Sequence[tuple[Any, ...]], pays: int) -> list[T]:
    """Results of `work` for each tuple of arguments, in order.

    Args:
        work: A function of a module; pure.
        arguments: Its arguments, one tuple for each call.
        pays: From so many calls on joblib's worker processes share them, one a core; they stay for the next call.
            To start them costs some two seconds of each core.
    """
    if len(arguments) < pays:
        return [work(*given) for given in arguments]
    from joblib import Parallel, delayed

    return list(Parallel(n_jobs=-1)(delayed(work)(*given) for given in arguments))
