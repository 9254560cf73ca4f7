"""What a file and a database's server answer alike, since both are asked by the same statements."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from evalrun.tracking import sql_reader
from evalrun.tracking.connection import MlflowConnection
from evalrun.tracking.layout import RunEntry

if TYPE_CHECKING:
    from evalrun.tracking.suite_table import SuiteTable


class SqlReads:
    """Those calls of `backends.Backend` that SQL answers without MLflow."""

    _link: MlflowConnection

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

    def table_of(self, run_ids: Sequence[str]) -> SuiteTable:
        """The results of some runs."""
        from evalrun.tracking.suite_table import suite_table

        return suite_table([sql_reader.contents_of(self._link, run_ids)])

    def group_tags(self, suite: str) -> dict[str, str]:
        """The tags of a suite's experiment that tell of groups."""
        return sql_reader.group_tags(self._link, suite)

    def mark_many(self, suite: str, run_keys: Iterable[str], sweep: str) -> None:
        """Note on runs that are done that a sweep wanted them too."""
        from evalrun.tracking import bulk_rows

        bulk_rows.mark(self._link, suite, run_keys, sweep)
