"""Tidy tables: one row a value, as published beside a paper, or evalrun's own results.csv."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

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
_MISSING = frozenset(("", "na", "nan", "none", "null", "n/a"))


class Row(NamedTuple):
    """One line's texts by our column names; empty where there is no such column."""

    suite: str
    model: str
    revision: str
    step: str
    seed: str
    task: str
    settings: str
    task_key: str  # up to here: which result the value is of
    metric: str
    value: str
    stderr: str
    n: str
    chance: str
    primary: str
    higher_is_better: str
    weights: str
    finished_ms: str

    @property
    def place(self) -> tuple[str, ...]:
        """What it has in common with the rows of the same result."""
        return self[:8]


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
            unread.setdefault(name, []).append((line, getattr(row, name)))
        place, metric, again = row.place, row.metric or "acc", 0
        # A second value of one metric is another result of the same cell; whether they agree is asked later.
        while metric in groups.setdefault((place, again), {}):
            again += 1
        groups[place, again][metric] = row
    left += [Skipped(shown, _filed_without(name, places), "number") for name, places in unread.items()]
    return [_found(shown, groups.pop(place)) for place in list(groups)], left


def _rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Rows by our column names, with their line in the file."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            delimiter = max("\t,;", key=header.count)
            columns = _columns(next(csv.reader([header], delimiter=delimiter), []))
            width, pick = 1 + max(columns.values()), itemgetter(*(columns.get(name, -1) for name in Row._fields))
            for line, cells in enumerate(csv.reader(file, delimiter=delimiter), start=2):
                if cells:
                    cells += [""] * max(1, width - len(cells) + 1)  # the last stands for a column that is not there
                    yield line, Row(*map(str.strip, pick(cells)))
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
    if _is_missing(row.model) or _is_missing(row.task) or _is_missing(row.value):
        return next(f"no {name}" for name in ("model", "task", "value") if _is_missing(getattr(row, name)))
    if _number(row.value) is None:
        return f"the value '{row.value}' is no number"
    for name, said in (("step", row.step), ("seed", row.seed)):
        if said and _whole(said) is None and not _is_missing(said):
            return f"the {name} '{said}' is no whole number"
    return None


def _unreadable(row: Row) -> Iterator[str]:
    """The columns beside the value in which something stands that is no number."""
    for name, said in (("stderr", row.stderr), ("chance", row.chance)):
        if said and _finite(said) is None and not _is_missing(said):
            yield name
    for name, said in (("n", row.n), ("finished_ms", row.finished_ms)):
        if said and _whole(said) is None and not _is_missing(said):
            yield name


def _filed_without(name: str, places: Sequence[tuple[int, str]]) -> str:
    line, text = places[0]
    if len(places) == 1:
        return f"line {line}: the {name} '{text:.60}' is no number, and its result is filed without it"
    which = f"'{text:.60}' in line {line}"
    return f"the {name} of {len(places):,} lines is no number, such as {which}, and they are filed without it"


def _found(shown: str, rows: Mapping[str, Row]) -> ParsedResult:
    """One task's result from its rows, a metric each."""
    stderrs = {metric: _finite(row.stderr) for metric, row in rows.items()}
    marked = next((metric for metric, row in rows.items() if row.primary.lower() in ("true", "1")), None)
    primary = marked or ("acc" if "acc" in rows else next(iter(rows)))
    first = rows[primary]
    better = first.higher_is_better.lower()
    return ParsedResult(
        file=shown,
        model=_model(first.model, first.revision, first.step, first.suite, first.seed),
        task=first.task,
        metrics={metric: value for metric, row in rows.items() if (value := _number(row.value)) is not None},
        stderrs={metric: stderr for metric, stderr in stderrs.items() if stderr is not None},
        settings={"scorer": _text(first.settings) or UNRECORDED},
        primary=primary,
        higher_is_better=None if better in _MISSING else better in ("true", "1"),
        lower=None if better in _MISSING else sorted(name for name, row in rows.items() if _is_lower(name, row)),
        n=_whole(first.n),
        chance=_finite(first.chance),
        finished_ms=_whole(first.finished_ms),
        weights=_text(first.weights) or "",
    )


@lru_cache(maxsize=1000)  # the rows of a checkpoint mostly stand together
def _model(pretrained: str, revision: str, step: str, suite: str, seed: str) -> ModelArgs:
    return ModelArgs(pretrained, _text(revision), whole(step), _text(suite), whole(seed))


def _is_lower(metric: str, row: Row) -> bool:
    """Tables of before say of every metric what is true of the primary one."""
    return row.higher_is_better.lower() in ("false", "0") or is_lower_better(metric)


_number, _whole = lru_cache(maxsize=10_000)(number), lru_cache(maxsize=1000)(whole)  # columns repeat themselves


def _is_missing(text: str) -> bool:
    return text.lower() in _MISSING


def _finite(text: str) -> float | None:
    value = _number(text) if text else None
    return value if value is not None and math.isfinite(value) else None


def _text(text: str) -> str | None:
    return None if _is_missing(text) else text
