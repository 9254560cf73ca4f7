"""Whether anything has changed in a store in PostgreSQL, which adds up digests of its rows: none of them is sent."""

from __future__ import annotations

from evalrun.tracking import sql_reader
from evalrun.tracking.sql_sources import opened
from evalrun.tracking.store_state import StoreState
from evalrun.tracking.suite_digest import SumsDigest

# What analyses read, and what they look at before they write; the points of curves are known by a tag.
_TABLES = ("experiments", "experiment_tags", "runs", "tags", "latest_metrics")


class DatabaseState(StoreState):
    """Takes no number of a transaction for a sign of change: a replica or a restored backup counts the same again."""

    def stamp(self) -> str | None:
        """All that is in these tables now, of all suites; None from another kind of database."""
        with opened(self._link, "looking at the database") as source, source.moment():
            sums = [source.sum_of("t", f"{table} t") for table in _TABLES]
            return None if None in sums else repr(sums)
        return None

    def content(self, suite: str) -> str | None:
        """What `DatabaseBackend.table` says of the table that it reads."""
        return sql_reader.content_digest(self._link, suite, SumsDigest())
