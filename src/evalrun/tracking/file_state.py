"""Whether anything has changed in a store that is a SQLite file, and who has written it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from evalrun.tracking import file_stamp, sql_reader
from evalrun.tracking.connection import MlflowConnection
from evalrun.tracking.store_state import StoreState
from evalrun.tracking.suite_digest import RowsDigest

if TYPE_CHECKING:
    from evalrun.tracking.mlflow_private import OwnCommits
    from evalrun.tracking.suite_table import SuiteTable


class FileState(StoreState):
    """Asks SQLite and the file system; only `watch` needs MLflow. Every method raises TrackingError if they fail."""

    def __init__(self, link: MlflowConnection) -> None:
        super().__init__(link)
        self._own: OwnCommits | None = None
        self._counted: int | None = None
        self._began: tuple[object, float] = None, 0.0  # the file's stamp and the time, when `watch` began

    def watch(self) -> None:
        """Begin to notice who else writes, with MLflow, which takes seconds.

        SQLite counts the transactions that change a file; those of this process are counted too, by its own client.
        """
        from evalrun.tracking import mlflow_private

        with self._link.guard("opening the store"):
            self._own = mlflow_private.OwnCommits(self._link.client)
        self._counted = file_stamp.transactions(self._link)
        self._began = file_stamp.stamp(self._link), time.monotonic()

    def is_unwritten(self, stamp: object, since: float) -> bool:
        """Whether nothing but this process's client has written the file since a reading began; False if not known.

        Args:
            stamp: The file's, before it was read.
            since: When that was, by time.monotonic.
        """
        if self._own is None or self._counted is None:
            return False
        if stamp != self._began[0] and since < self._began[1]:
            return False
        return file_stamp.transactions(self._link) == self._counted + self._own.count

    def refreshed(self, table: SuiteTable) -> SuiteTable:
        """A table as one that was read now, if nothing but this process's client has written since; else as it is."""
        now = file_stamp.stamp(self._link)
        return replace(table, stamp=now) if self.is_unwritten(table.stamp, table.since) else table

    def stamp(self) -> str:
        """Differs once anybody has written the file, whatever it was."""
        return repr(file_stamp.stamp(self._link))

    def content(self, suite: str) -> str | None:
        """Differs once the suite's rows do, which are read for it."""
        return sql_reader.content_digest(self._link, suite, RowsDigest())
