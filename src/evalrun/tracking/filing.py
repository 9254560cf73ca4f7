"""What an analysis files in MLflow, in a process beside it where that may be: MLflow takes seconds to be imported."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from evalrun.config.schema import TrackingConf
from evalrun.core.second_process import Helper
from evalrun.core.stages import stage
from evalrun.tracking.file_state import FileState
from evalrun.tracking.store import Store

if TYPE_CHECKING:  # pandas takes a second to be imported
    from evalrun.tracking.suite_table import SuiteTable

T = TypeVar("T")


class Filing:
    """Curves and reports of a store, filed one after the other; for a `with` block.

    Only a SQLite file is written by a process of its own: a server may keep one waiting, which is to be seen here.

    Args:
        store: Where to. Unless it is a file, it is opened.

    Raises:
        TrackingError: it cannot be written.
    """

    def __init__(self, store: Store) -> None:
        """Start the process, which opens the store; MLflow's import takes it a second or two."""
        self._helper = Helper(forks=store.state() is not None)
        self._store = store
        self._asked: list[Callable[[], Any]] = []
        self._read: list[tuple[str, float]] = []  # stamp of the file and time when a table was begun to be read
        with stage("the store"):
            store.check(opens=not self._helper.is_beside)
        self._began = self._do(_watch, store.conf) if self._helper.is_beside else None

    def __enter__(self) -> Filing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process; what it was writing is whole then, or is not there."""
        self._helper.close()

    def rebuild_curves(self, suite: str, made: tuple[str, str] | None, table: SuiteTable) -> None:
        """What `Store.rebuild_curves` does, soon."""
        self._read.append((repr(table.stamp), table.since))
        self._do(_rebuild_curves, self._given, suite, made, table)

    def log_report(
        self, suite: str, files: Mapping[str, Path], metrics: Mapping[str, float], params: Mapping[str, str]
    ) -> Callable[[], str]:
        """What `Store.log_report` does, soon; returns what waits for its answer."""
        return self._do(_log_report, self._given, suite, dict(files), dict(metrics), dict(params))

    def end(self) -> bool:
        """Wait until all is filed. Says whether nobody else has written since tables were read; False if not known.

        Raises:
            TrackingError: something could not be filed.
        """
        for answer in self._asked:
            answer()
        if self._began is None:
            return False
        stamp, began = self._began()
        known = all(seen == stamp or since >= began for seen, since in self._read)
        return known and not self._helper.ask(_others_wrote)()

    @property
    def _given(self) -> Store | None:
        return None if self._helper.is_beside else self._store

    def _do(self, work: Callable[..., T], *arguments: Any) -> Callable[[], T]:
        answer = self._helper.ask(work, *arguments)
        self._asked.append(answer)
        return answer


_opened: list[tuple[Store, FileState]] = []  # of the process beside


def _watch(conf: TrackingConf) -> tuple[str, float]:
    """Open the store in this process, and notice from now on who else writes: the file's stamp, and when that was."""
    store = Store(conf)
    state = store.state()
    assert state is not None  # it was there when this process was started
    _opened.append((store, state))
    return state.watch(), time.monotonic()


def _others_wrote() -> bool:
    return _opened[-1][1].others_wrote()


def _rebuild_curves(store: Store | None, suite: str, made: tuple[str, str] | None, table: SuiteTable) -> None:
    (store or _opened[-1][0]).rebuild_curves(suite, made, table)


def _log_report(
    store: Store | None, suite: str, files: dict[str, Path], metrics: dict[str, float], params: dict[str, str]
) -> str:
    return (store or _opened[-1][0]).log_report(suite, files, metrics, params, {})
