"""What is looked up once while a command or a session lasts, and forgotten with it.

A list of a training run's checkpoints, or whether the hub can be reached, is asked for by every job and need not be
found out again; the next session must, because files and the network change. A process has one memory from its start;
a session inside somebody's program has its own.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

Asked = ParamSpec("Asked")
Found = TypeVar("Found")
Held = dict[Callable[..., Any], dict[tuple[Any, ...], Any]]

_held: list[Held] = [{}]  # the innermost session's last


@contextlib.contextmanager
def fresh() -> Iterator[None]:
    """Remember nothing of before, and forget what is found meanwhile."""
    _held.append({})
    try:
        yield
    finally:
        _held.pop()


def remembered(find: Callable[Asked, Found]) -> Callable[Asked, Found]:
    """A function that finds things out once in a session for each of its arguments; what it raises is not kept."""

    @functools.wraps(find)
    def asked(*given: Asked.args, **named: Asked.kwargs) -> Found:
        known = _held[-1].setdefault(asked, {})
        key = (given, *sorted(named.items()))
        if key not in known:
            known[key] = find(*given, **named)
        found: Found = known[key]
        return found

    return asked


def forget(asked: Callable[..., Any]) -> None:
    """Find out again what a `remembered` function is asked next."""
    _held[-1].pop(asked, None)


def forget_one(asked: Callable[..., Any], *given: Any) -> None:
    """Find out again what a `remembered` function is asked next of these arguments, by their places alone."""
    _held[-1].get(asked, {}).pop((given,), None)
