"""A store in a database's server, such as PostgreSQL: read by SQL, and PostgreSQL written by it, too."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from evalrun.tracking import sql_reader
from evalrun.tracking.database_state import DatabaseState
from evalrun.tracking.layout import Delivery, Origin
from evalrun.tracking.server_backend import ServerBackend
from evalrun.tracking.sql_reads import SqlReads
from evalrun.tracking.sql_sources import opened
from evalrun.tracking.suite_digest import SumsDigest

if TYPE_CHECKING:
    from evalrun.tracking.suite_table import SuiteTable


class DatabaseBackend(SqlReads, ServerBackend):
    """How its runs are read and written, by statements as of a SQLite file. Nothing needs MLflow until it writes."""

    def check_readable(self) -> None:
        """One connection: MLflow is not asked."""
        with opened(self._link, "connecting to the database"):
            pass

    def state(self) -> DatabaseState:
        """What tells whether anything has changed: the rows, added up where they are."""
        return DatabaseState(self._link)

    def table(self, suite: str) -> SuiteTable:
        """All results of a suite, as they are at one moment."""
        from evalrun.tracking.suite_table import suite_table

        digest = SumsDigest()
        found = suite_table(sql_reader.pages(self._link, suite, digest))
        return replace(found, digest=digest.text())

    def rebuild_curves(self, suite: str, table: SuiteTable | None, made: tuple[str, str] | None) -> None:
        """Bring the curves of a suite up to date; it is read anew, since others may have written since."""
        from evalrun.tracking import bulk_curves, curve_runs

        writer = bulk_curves.TableWriter(self._link)
        curve_runs.rebuild(self._link, suite, lambda: self.table(suite).of(), writer, made)

    def artifact_folders(self, run_ids: Collection[str]) -> dict[str, Path]:
        """Run id -> where its artifacts lie, of those that this machine has; MLflow would ask run by run."""
        found = sql_reader.artifact_folders(self._link, run_ids)
        return {run_id: folder for run_id, folder in found.items() if folder.is_dir()}

    def deliver(self, results: Delivery, sweep: str | None, config_yaml: str | None) -> str:
        """File the results of one checkpoint; returns the run's id."""
        if not self._link.server.is_written_by_sql:
            return super().deliver(results, sweep, config_yaml)
        from evalrun.tracking import bulk_claimed

        return bulk_claimed.deliver_one(self._link, results, sweep, config_yaml)

    def deliver_many(self, results: Delivery, origins: Mapping[str, Origin]) -> None:
        """File results of any number of checkpoints, some hundred runs at a time."""
        if not self._link.server.is_written_by_sql:
            super().deliver_many(results, origins)
            return
        from evalrun.tracking import bulk_claimed

        bulk_claimed.deliver(self._link, results, origins)
