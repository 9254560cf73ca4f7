"""Tidy tables: one row a value, as published beside a paper, or evalrun's own results.csv."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from evalrun.commands.ingest.model_args import ModelArgs
from evalrun.commands.ingest.parsed import (
    UNRECORDED,
    DamagedError,
    NotResultsError,
    ParsedResult,
    Skipped,
    number,
    whole,
)
from evalrun.core.columns import TABLE_COLUMNS
from evalrun.core.directions import is_lower_better

# What a column may be called, in lower case; the first of ours is how results.csv calls it.
_COLUMNS = {name: (name, *column.aliases) for name, column in TABLE_COLUMNS.items()}
_COLUMNS["revision"] = ("revision", "modelrevision", "model_revision")
_MISSING = ("", "na", "nan", "none", "null", "n/a")

Row = dict[str, str]


def read(path: Path, shown: str) -> tuple[list[ParsedResult], list[Skipped]]:
    """All results of one table, and its rows that cannot be taken.

    Raises:
        DamagedError: it cannot be read.
        NotResultsError: it lacks a column that every table of results has.
    """
    left: list[Skipped] = []
    groups: dict[tuple[Any, ...], dict[str, Row]] = {}
    unread: dict[str, list[tuple[int, str]]] = {}  # column -> lines and what stands there
    for line, row in _rows(path):
        problem = _problem(row)
        if problem:
            left.append(Skipped(shown, f"line {line}: {problem}", "row"))
            continue
        for name in _unreadable(row):
            unread.setdefault(name, []).append((line, row[name]))
        metric, again = row.get("metric") or "acc", 0
        # A second value of one metric is another result of the same cell; whether they agree is asked later.
        while metric in groups.setdefault((*_place(row), again), {}):
            again += 1
        groups[*_place(row), again][metric] = row
    left += [Skipped(shown, _filed_without(name, places), "number") for name, places in unread.items()]
    return [_found(shown, rows) for rows in groups.values()], left


def _rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Rows by our column names, with their line in the file."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            delimiter = max("\t,;", key=header.count)
            columns = _columns(next(csv.reader([header], delimiter=delimiter), []))
            for line, cells in enumerate(csv.reader(file, delimiter=delimiter), start=2):
                if cells:
                    yield line, {name: cells[at].strip() for name, at in columns.items() if at < len(cells)}
    except UnicodeDecodeError:
        raise DamagedError("is not text") from None
    except OSError as error:
        raise DamagedError(f"cannot be read ({error.strerror})") from None
    except csv.Error as error:
        raise DamagedError(f"is no table ({error})") from None


def _columns(header: Sequence[str]) -> dict[str, int]:
    names = [cell.strip().lower() for cell in header]
    found = {ours: names.index(name) for ours, known in _COLUMNS.items() for name in reversed(known) if name in names}
    missing = [name for name in ("model", "task", "value") if name not in found]
    if "step" not in found and "revision" not in found:
        missing.append("revision or step")
    if missing:
        raise NotResultsError(f"is no table of results (no column {', '.join(missing)})")
    return found


def _problem(row: Row) -> str | None:
    for name in ("model", "task", "value"):
        if row.get(name, "").lower() in _MISSING:
            return f"no {name}"
    if number(row["value"]) is None:
        return f"the value '{row['value']}' is no number"
    for name in ("step", "seed"):
        said = row.get(name, "")
        if said.lower() not in _MISSING and whole(said) is None:
            return f"the {name} '{said}' is no whole number"
    return None


def _unreadable(row: Row) -> Iterator[str]:
    """The columns beside the value in which something stands that is no number."""
    for name, is_read in (("stderr", _number), ("chance", _number), ("n", _whole), ("finished_ms", _whole)):
        if row.get(name, "").lower() not in _MISSING and is_read(row, name) is None:
            yield name


def _filed_without(name: str, places: Sequence[tuple[int, str]]) -> str:
    line, text = places[0]
    if len(places) == 1:
        return f"line {line}: the {name} '{text:.60}' is no number, and its result is filed without it"
    which = f"'{text:.60}' in line {line}"
    return f"the {name} of {len(places):,} lines is no number, such as {which}, and they are filed without it"


def _place(row: Row) -> tuple[str, ...]:
    return tuple(
        row.get(name, "") for name in ("suite", "model", "revision", "step", "seed", "task", "settings", "task_key")
    )


def _found(shown: str, rows: Mapping[str, Row]) -> ParsedResult:
    """One task's result from its rows, a metric each."""
    stderrs = {metric: _number(row, "stderr") for metric, row in rows.items()}
    marked = next((metric for metric, row in rows.items() if row.get("primary", "").lower() in ("true", "1")), None)
    primary = marked or ("acc" if "acc" in rows else next(iter(rows)))
    first = rows[primary]
    better = first.get("higher_is_better", "").lower()
    return ParsedResult(
        file=shown,
        model=ModelArgs(
            pretrained=first["model"],
            revision=_text(first, "revision"),
            step=whole(first.get("step", "")),
            suite=_text(first, "suite"),
            seed=whole(first.get("seed", "")),
        ),
        task=first["task"],
        metrics={metric: float(row["value"]) for metric, row in rows.items()},
        stderrs={metric: stderr for metric, stderr in stderrs.items() if stderr is not None},
        settings={"scorer": _text(first, "settings") or UNRECORDED},
        primary=primary,
        higher_is_better=better in ("true", "1") if better not in _MISSING else None,
        lower=None if better in _MISSING else sorted(name for name, row in rows.items() if _is_lower(name, row)),
        n=whole(first.get("n", "")),
        chance=_number(first, "chance"),
        finished_ms=whole(first.get("finished_ms", "")),
        weights=_text(first, "weights") or "",
    )


def _is_lower(metric: str, row: Row) -> bool:
    """Tables of before say of every metric what is true of the primary one."""
    return row.get("higher_is_better", "").lower() in ("false", "0") or is_lower_better(metric)


def _whole(row: Mapping[str, str], name: str) -> int | None:
    return whole(row.get(name, ""))


def _number(row: Mapping[str, str], name: str) -> float | None:
    value = number(row.get(name, ""))
    return value if value is not None and math.isfinite(value) else None


def _text(row: Mapping[str, str], name: str) -> str | None:
    value = row.get(name, "")
    return None if value.lower() in _MISSING else value
