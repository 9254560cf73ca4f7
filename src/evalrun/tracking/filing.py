"""What an analysis files in MLflow, in a process beside it where that may be: MLflow takes seconds to be imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from evalrun.config.schema import TrackingConf
from evalrun.core.errors import TrackingError
from evalrun.core.second_process import Helper
from evalrun.core.stages import stage
from evalrun.tracking.file_state import FileState
from evalrun.tracking.store import Store

if TYPE_CHECKING:  # pandas takes a second to be imported
    from evalrun.tracking.suite_table import SuiteTable

T = TypeVar("T")


class Filing:
    """Curves and reports of a store, filed one after the other; for a `with` block.

    What cannot be filed is said at the end: the reports are files, and are made all the same. Only a SQLite file is
    written by a process of its own: a server may keep one waiting, which is to be seen here.

    Args:
        store: Where to. Unless it is a file, it is opened.

    Raises:
        TrackingError: it cannot be written.
    """

    def __init__(self, store: Store) -> None:
        """Start the process, which opens the store; MLflow's import takes it a second or two."""
        import pandas  # noqa: F401  here, it is there in every process that is forked from now on

        self._helper = Helper(forks=store.file_state() is not None, can_wait=True)
        self._store = store
        self._asked: list[Callable[[], Any]] = []
        self._refused: Callable[[], Any] | None = None  # raises what the first order raised that could not be filed
        self._read: list[tuple[object, float]] = []  # stamp of the file and time when a table was begun to be read
        with stage("the store"):
            store.check(opens=not self._helper.is_beside)
        if self._helper.is_beside:
            self._do(_watch, store.conf)

    def __enter__(self) -> Filing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process; what it was writing is whole then, or is not there."""
        self._helper.close()

    def rebuild_curves(self, suite: str, made: tuple[str, str] | None, table: SuiteTable) -> None:
        """What `Store.rebuild_curves` does, soon."""
        self._read.append((table.stamp, table.since))
        self._do(_rebuild_curves, self._given, suite, made, table)

    def log_report(
        self, suite: str, files: Mapping[str, Path], metrics: Mapping[str, float], params: Mapping[str, str]
    ) -> Callable[[], str]:
        """What `Store.log_report` does, soon; returns what waits for its answer."""
        return self._do(_log_report, self._given, suite, dict(files), dict(metrics), dict(params))

    def end(self, reports: Sequence[Path]) -> bool:
        """Wait until all is filed. Says whether nobody else has written since tables were read; False if not known.

        Args:
            reports: The pages that were made.

        Raises:
            TrackingError: something could not be filed; it names the pages, which are there all the same.
        """
        try:
            for answer in self._asked:
                answer()
        except TrackingError as error:
            made = "report is" if len(reports) == 1 else "reports are"
            raise TrackingError(f"{error} The {made} made all the same: {', '.join(map(str, reports))}.") from None
        return self._helper.is_beside and self._helper.ask(_are_unwritten, self._read)()

    @property
    def _given(self) -> Store | None:
        return None if self._helper.is_beside else self._store

    def _do(self, work: Callable[..., T], *arguments: Any) -> Callable[[], T]:
        """Nothing is begun after a refusal in this process: a server would be waited for again each time."""
        if self._refused is not None:
            return self._refused
        try:
            answer = self._helper.ask(work, *arguments)
        except TrackingError as error:
            answer = self._refused = partial(_raise, error)
        self._asked.append(answer)
        return answer


def _raise(error: TrackingError) -> NoReturn:
    raise error


_opened: list[tuple[Store, FileState]] = []  # of the process beside


def _watch(conf: TrackingConf) -> None:
    """Open the store in this process, and notice from now on who else writes."""
    store = Store(conf)
    state = store.file_state()
    assert state is not None  # it was there when this process was started
    _opened.append((store, state))
    state.watch()


def _are_unwritten(read: list[tuple[object, float]]) -> bool:
    return all(_opened[-1][1].is_unwritten(*one) for one in read)


def _rebuild_curves(store: Store | None, suite: str, made: tuple[str, str] | None, table: SuiteTable) -> None:
    if store is None:
        store, state = _opened[-1]
        table = state.refreshed(table)  # the curves of the suite before were written since it was read
    store.rebuild_curves(suite, made, table)


def _log_report(
    store: Store | None, suite: str, files: dict[str, Path], metrics: dict[str, float], params: dict[str, str]
) -> str:
    return (store or _opened[-1][0]).log_report(suite, files, metrics, params, {})
