"""The one place that asks whether a store is a SQLite file, a database or a server: all answer the same calls."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from evalrun.tracking.connection import MlflowConnection
from evalrun.tracking.database_backend import DatabaseBackend
from evalrun.tracking.file_backend import FileBackend
from evalrun.tracking.layout import Delivery, Origin, RunEntry
from evalrun.tracking.server_backend import ServerBackend
from evalrun.tracking.store_state import StoreState

if TYPE_CHECKING:
    from evalrun.tracking.suite_table import SuiteTable


class Backend(Protocol):
    """How a store's runs are read and written. Every method raises TrackingError."""

    def check_readable(self) -> None:
        """Make sure, soon, that it can be asked."""

    def suites(self) -> list[str]:
        """The suites that have checkpoint runs, sorted."""

    def experiment_id(self, suite: str) -> str | None:
        """MLflow's id of a suite's experiment; None where there is none."""

    def runs(self, suite: str, run_key: str | None = None) -> list[RunEntry]:
        """Every checkpoint run of a suite, or those of one key, newest first."""

    def looks(self, suite: str) -> list[RunEntry]:
        """Every checkpoint run of a suite with at least the tags that say which looks were taken at what."""

    def state(self) -> StoreState | None:
        """What tells whether anything has changed, where the store can be asked for it."""

    def table(self, suite: str) -> SuiteTable:
        """All results of a suite."""

    def table_of(self, run_ids: Sequence[str]) -> SuiteTable:
        """The results of some runs: no others are read."""

    def group_tags(self, suite: str) -> dict[str, str]:
        """The tags of a suite's experiment, at least those of groups; none where there is no such suite."""

    def rebuild_curves(self, suite: str, table: SuiteTable | None, made: tuple[str, str] | None) -> None:
        """Bring the curves of a suite up to date, from its table where that was read already."""

    def artifact_folders(self, run_ids: Collection[str]) -> dict[str, Path]:
        """Run id -> where its artifacts lie, of those of these runs that have them on this machine."""

    def deliver(self, results: Delivery, sweep: str | None, config_yaml: str | None) -> str:
        """File the results of one checkpoint; returns the run's id."""

    def deliver_many(self, results: Delivery, origins: Mapping[str, Origin]) -> None:
        """File results of any number of checkpoints."""

    def written_beside(self) -> AbstractContextManager[None]:
        """In the block a process beside this one writes what is delivered, where that may be."""

    def check_soon(self) -> Callable[[], None]:
        """Begin to make sure that results can be delivered; what is returned waits for the answer."""

    def mark_many(self, suite: str, run_keys: Iterable[str], sweep: str) -> None:
        """Note on runs that are done that a sweep wanted them too."""


def backend_of(link: MlflowConnection) -> Backend:
    """The way to a store; nothing is opened yet."""
    if link.database is not None:
        return FileBackend(link)
    return DatabaseBackend(link) if link.server.is_read_by_sql else ServerBackend(link)
