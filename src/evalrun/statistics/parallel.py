"""On how many cores: independent pieces of work in processes where there are enough of them, small matrices on one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

T = TypeVar("T")


@contextmanager
def on_one_core() -> Iterator[None]:
    """Have the block, or the function that this decorates, do its linear algebra in one thread.

    Products of a few hundred rows end before a second thread has begun: waiting for it costs three times the work, and
    more where other programs want the core.
    """
    with threadpool_limits(1, user_api="blas"):
        yield


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
