"""Who writes into a SQLite file what was made ready: this process, or one beside it, where that may be.

MLflow takes seconds to be imported and SQLite seconds to take a hundred thousand results, while the next are read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from evalrun.core.second_process import Helper
from evalrun.tracking import layout
from evalrun.tracking.connection import MlflowConnection, quiet
from evalrun.tracking.new_runs import NewRun, RunPlace


class RunWriter:
    """Does one order after another. What a method returns waits until its order is done, and raises what it raised.

    Args:
        link: The store, a SQLite file.
        beside: Whether a process is started for it, where one may be forked; it is to be closed.
    """

    def __init__(self, link: MlflowConnection, beside: bool = False) -> None:
        self.link = link
        self._helper = Helper(forks=beside)
        if self.is_beside:
            self._helper.ask(_make_ready, link)

    @property
    def is_beside(self) -> bool:
        """Whether another process writes."""
        return self._helper.is_beside

    def check(self) -> Callable[[], None]:
        """Make sure that results can be delivered, which makes the file if need be."""
        return self._helper.ask(_check, self._given)

    def place(self, suite: str) -> Callable[[], RunPlace]:
        """Where the runs of a suite go; its experiment is made."""
        return self._do("place_of", suite)

    def taken(self, run_ids: Sequence[str]) -> Callable[[], set[str]]:
        """Those of some ids that a run has, deleted ones included."""
        return self._do("taken", run_ids)

    def write(self, place: RunPlace, new: Sequence[NewRun]) -> Callable[[], None]:
        """Write the rows of new runs, in one transaction."""
        return self._do("write", place, new)

    def deliver(self, results: layout.Delivery, sweep: str | None, config_yaml: str | None) -> Callable[[], str]:
        """File results of one checkpoint as MLflow's client does; the answer is the run's id."""
        return self._do("deliver", results, sweep, config_yaml)

    def close(self) -> None:
        """End the process; a transaction that it is at is whole then, or is not there."""
        self._helper.close()

    @property
    def _given(self) -> MlflowConnection | None:
        return None if self.is_beside else self.link

    def _do(self, name: str, *arguments: object) -> Callable[[], Any]:
        return self._helper.ask(_answer, self._given, name, arguments)


_links: list[MlflowConnection] = []  # of the process beside


def _make_ready(link: MlflowConnection) -> None:
    """In the process beside: import what it needs, while there is nothing to be written yet."""
    quiet()
    from evalrun.tracking import bulk_rows  # noqa: F401

    _links.append(link)


def _check(link: MlflowConnection | None) -> None:
    (link or _links[-1]).check()


def _answer(link: MlflowConnection | None, name: str, arguments: tuple[object, ...]) -> Any:
    """Call a function of `bulk_rows`, which imports MLflow."""
    from evalrun.tracking import bulk_rows

    link = link or _links[-1]
    with link.guard("delivering results"):  # of a process beside only errors of evalrun's are told here
        return getattr(bulk_rows, name)(link, *arguments)
