"""A store in a database's server, such as PostgreSQL: read by SQL; results are filed through MLflow's client."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from evalrun.tracking import sql_reader
from evalrun.tracking.database_state import DatabaseState
from evalrun.tracking.layout import RunEntry
from evalrun.tracking.server_backend import ServerBackend
from evalrun.tracking.sql_sources import opened
from evalrun.tracking.suite_digest import SumsDigest

if TYPE_CHECKING:
    from evalrun.tracking.suite_table import SuiteTable


class DatabaseBackend(ServerBackend):
    """How its runs are read: by the statements that a SQLite file answers. Nothing needs MLflow until it writes."""

    def check_readable(self) -> None:
        """One connection: MLflow is not asked."""
        with opened(self._link, "connecting to the database"):
            pass

    def suites(self) -> list[str]:
        """The suites that have checkpoint runs, sorted."""
        return sql_reader.suites(self._link)

    def experiment_id(self, suite: str) -> str | None:
        """MLflow's id of a suite's experiment; None where there is none."""
        return sql_reader.experiment_id(self._link, suite)

    def runs(self, suite: str, run_key: str | None = None) -> list[RunEntry]:
        """Checkpoint runs of a suite, or those of one key, newest first."""
        return sql_reader.runs(self._link, suite, run_key)

    def looks(self, suite: str) -> list[RunEntry]:
        """Checkpoint runs with the tags that say which looks were taken at what."""
        return sql_reader.looks(self._link, suite)

    def state(self) -> DatabaseState:
        """What tells whether anything has changed: the rows, added up where they are."""
        return DatabaseState(self._link)

    def table(self, suite: str) -> SuiteTable:
        """All results of a suite, as they are at one moment."""
        from evalrun.tracking.suite_table import suite_table

        digest = SumsDigest()
        found = suite_table(sql_reader.pages(self._link, suite, digest))
        return replace(found, digest=digest.text())

    def table_of(self, run_ids: Sequence[str]) -> SuiteTable:
        """The results of some runs."""
        from evalrun.tracking.suite_table import suite_table

        return suite_table([sql_reader.contents_of(self._link, run_ids)])

    def group_tags(self, suite: str) -> dict[str, str]:
        """The tags of a suite's experiment that tell of groups."""
        return sql_reader.group_tags(self._link, suite)

    def rebuild_curves(self, suite: str, table: SuiteTable | None, made: tuple[str, str] | None) -> None:
        """Bring the curves of a suite up to date; it is read anew, since others may have written since."""
        from evalrun.tracking import bulk_curves, curve_runs

        writer = bulk_curves.TableWriter(self._link)
        curve_runs.rebuild(self._link, suite, lambda: self.table(suite).of(), writer, made)

    def artifact_folders(self, run_ids: Collection[str]) -> dict[str, Path]:
        """Run id -> where its artifacts lie, of those that this machine has; MLflow would ask run by run."""
        found = sql_reader.artifact_folders(self._link, run_ids)
        return {run_id: folder for run_id, folder in found.items() if folder.is_dir()}

    def mark_many(self, suite: str, run_keys: Iterable[str], sweep: str) -> None:
        """Note on runs that are done that a sweep wanted them too, all in one transaction."""
        from evalrun.tracking import bulk_rows

        bulk_rows.mark(self._link, suite, run_keys, sweep)
