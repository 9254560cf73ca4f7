"""A store that is a SQLite file: read without MLflow, kept from other processes by a lock, many runs a transaction."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from evalrun.tracking import bulk, database_schema, file_stamp, sql_reader
from evalrun.tracking.connection import MlflowConnection
from evalrun.tracking.file_state import FileState
from evalrun.tracking.layout import Delivery, Origin
from evalrun.tracking.run_writer import RunWriter
from evalrun.tracking.sql_reads import SqlReads
from evalrun.tracking.suite_digest import RowsDigest

if TYPE_CHECKING:
    import pandas as pd

    from evalrun.tracking.suite_table import SuiteTable

# Importing mlflow takes seconds: what needs it is imported where it is used.


class FileBackend(SqlReads):
    """How its runs are read and written; the calls are those of `backends.Backend`."""

    def __init__(self, link: MlflowConnection) -> None:
        self._link = link
        self._writer = RunWriter(link)

    def check_readable(self) -> None:
        """Reading says soon enough what is wrong with a file."""

    def suites(self) -> list[str]:
        """The suites that have checkpoint runs, sorted."""
        if self._link.upgrade:
            _ = self._link.client  # an older file is migrated when it is opened
        elif self._link.database is not None:  # MLflow would refuse it, too
            database_schema.check_file(self._link.database, self._link.patience_s, False)
        return super().suites()

    def state(self) -> FileState:
        """What tells whether anything has changed: what SQLite notes in the file."""
        return FileState(self._link)

    def table(self, suite: str) -> SuiteTable:
        """All results of a suite, without an object of MLflow's for each metric and tag."""
        from evalrun.tracking.suite_table import suite_table

        since, stamp, digest = time.monotonic(), file_stamp.stamp(self._link), RowsDigest()
        found = suite_table(sql_reader.pages(self._link, suite, digest))
        return replace(found, stamp=stamp, since=since, digest=digest.text())

    def rebuild_curves(self, suite: str, table: SuiteTable | None, made: tuple[str, str] | None) -> None:
        """Bring the curves of a suite up to date; a table that is no longer what the file holds is read again."""
        from evalrun.tracking import bulk_curves, curve_runs

        def read() -> pd.DataFrame:
            is_current = table is not None and table.stamp == file_stamp.stamp(self._link)
            return (table if table is not None and is_current else self.table(suite)).of()

        curve_runs.rebuild(self._link, suite, read, bulk_curves.TableWriter(self._link), made)

    def artifact_folders(self, run_ids: Collection[str]) -> dict[str, Path]:
        """Run id -> where its artifacts lie, of those of these runs that have them on this machine."""
        return sql_reader.artifact_folders(self._link, run_ids)

    def deliver(self, results: Delivery, sweep: str | None, config_yaml: str | None) -> str:
        """File the results of one checkpoint; returns the run's id."""
        return bulk.deliver_one(self._writer, results, sweep, config_yaml)

    def deliver_many(self, results: Delivery, origins: Mapping[str, Origin]) -> None:
        """File results of any number of checkpoints."""
        bulk.deliver(self._writer, results, origins)

    @contextlib.contextmanager
    def written_beside(self) -> Iterator[None]:
        """In the block a process beside this one writes, where one may be forked."""
        writer = RunWriter(self._link, beside=True)
        before, self._writer = self._writer, writer
        try:
            yield
        finally:
            self._writer = before
            writer.close()

    def check_soon(self) -> Callable[[], None]:
        """Begin to make sure that results can be delivered; what is returned waits for the answer."""
        return self._writer.check()
