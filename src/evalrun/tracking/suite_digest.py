"""A digest of all that a suite's table is made from, taken while it is read; what analyses note on runs is left out."""

from __future__ import annotations

import hashlib
import marshal
from typing import Protocol

from evalrun.tracking import layout
from evalrun.tracking.alarm_tags import LOOKS
from evalrun.tracking.sql_sources import Row, SqlSource

Tag = tuple[str, str, str]  # run id, key, text
Value = tuple[str, str, float, int]  # run id, key, value, whether it is no number

ACTIVE = "r.experiment_id = ? AND r.lifecycle_stage = 'active'"
OWN = "evalrun."  # tags
_OF_ACTIVE = f"IN (SELECT r.run_uuid FROM runs r WHERE {ACTIVE})"
_NOTED = (layout.COMMAND, layout.ALARM, LOOKS)  # by analyses and watches, of no result
_UNNOTED = "t.key NOT IN ('{}', '{}', '{}')".format(*_NOTED)
_PLAIN = 2  # the version of marshal that writes equal values alike


def is_result(source: SqlSource) -> str:
    """The condition that a metric is none of the half that a task's tags tell, too."""
    return f"NOT {source.begins('m.key', 'n/')} AND NOT {source.begins('m.key', 'chance/')}"


class SuiteDigest(Protocol):
    """What a suite is taken into as it is read."""

    needs_rows: bool  # whether pages are to be taken in

    def begin(self, source: SqlSource, experiment: int | None, groups: list[Row]) -> None:
        """Take in the suite's number and its groups, before its runs are read."""

    def page(self, run_ids: list[str], tags: list[Tag], metrics: list[Value]) -> None:
        """Take in some runs, as they were read."""

    def text(self) -> str | None:
        """The digest; None where there is none."""


class RowsDigest:
    """Of rows as they come: of a file, where their order stays."""

    needs_rows = True

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def begin(self, source: SqlSource, experiment: int | None, groups: list[Row]) -> None:
        """Take in the groups."""
        self._digest.update(marshal.dumps(groups, _PLAIN))

    def page(self, run_ids: list[str], tags: list[Tag], metrics: list[Value]) -> None:
        """Take in these rows."""
        said = run_ids, [row for row in tags if row[1] not in _NOTED], metrics
        self._digest.update(marshal.dumps(said, _PLAIN))

    def text(self) -> str:
        """The digest of all rows."""
        return self._digest.hexdigest()


class SumsDigest:
    """Of sums that a database's server makes, in whatever order it finds its rows, at the moment that is read."""

    needs_rows = False

    def __init__(self) -> None:
        self._text: str | None = None

    def begin(self, source: SqlSource, experiment: int | None, groups: list[Row]) -> None:
        """Have them made."""
        own, result = source.begins("t.key", OWN), is_result(source)
        asked = (experiment,)
        sums = [
            source.sum_of("r.run_uuid", f"runs r WHERE {ACTIVE}", asked),
            source.sum_of(
                "ROW(t.run_uuid, t.key, t.value)",
                f"tags t WHERE t.run_uuid {_OF_ACTIVE} AND {own} AND {_UNNOTED}",
                asked,
            ),
            source.sum_of(
                "ROW(m.run_uuid, m.key, m.value, m.is_nan)",
                f"latest_metrics m WHERE m.run_uuid {_OF_ACTIVE} AND {result}",
                asked,
            ),
        ]
        told = repr((sorted(groups), sums)).encode("utf-8", "surrogatepass")
        self._text = None if None in sums else hashlib.sha256(told).hexdigest()

    def page(self, run_ids: list[str], tags: list[Tag], metrics: list[Value]) -> None:
        """Nothing: the sums are of all runs."""

    def text(self) -> str | None:
        """The digest of the sums; None from a database that makes none."""
        return self._text
