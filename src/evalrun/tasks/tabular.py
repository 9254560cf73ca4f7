"""Tables as rows, so that what is scored is what the file says, to the letter.

Left to itself, pandas takes the words NA, None and null for nothing at all, reads 1e5 as 100000.0 and 007 as 7, makes
5.0 of a 5 that shares its column with an empty cell, and shifts the columns of a file whose first row has a field too
many. None of this is said; each can mark the wrong choice.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from evalrun.core.errors import TaskError
from evalrun.tasks.packed import ending, opened

_SEPARATORS = {".csv": ",;\t", ".tsv": "\t;,"}
_WHOLE = re.compile(r"0|-?[1-9]\d{0,17}")  # of 64 bits
_FRACTION = re.compile(r"-?\d+\.\d+")
_LOGICAL = ("true", "True", "TRUE"), ("false", "False", "FALSE")


def rows(path: Path, texts: Iterable[str] = ()) -> Iterator[dict[str, Any]]:
    """The rows of a table, one by one.

    The separator is a comma, a semicolon or a tab, whichever parts the header. A column holds numbers where each is
    written as Python writes it, and truth values where both are there; all others hold text, empty where a cell is.

    Args:
        path: A .csv or .tsv file.
        texts: Columns that are text, whatever they hold.

    Raises:
        TaskError: a row with more fields than the header, or with nothing in any, or a name that two columns have;
            with its line.
        UnicodeDecodeError: the file is not UTF-8.
    """
    kinds = {name: kind for name, kind in _kinds_now(path).items() if name not in set(texts)}
    found = _rows(path, str(path), _separator(path))
    names = _names(next(found, (0, []))[1])
    readers: list[Any] = [kinds.get(name, str) for name in names]
    for _, fields in found:
        whole = [*fields, *[""] * (len(names) - len(fields))]
        yield {name: reader(field) for name, reader, field in zip(names, readers, whole, strict=True)}


def text_columns(path: Path) -> frozenset[str]:
    """The columns that cannot hold numbers or truth values; see `rows` for the errors."""
    return frozenset(name for name, kind in _kinds_now(path).items() if kind is str)


def _kinds_now(path: Path) -> dict[str, Any]:
    stamp = path.stat()
    return _kinds(path.absolute(), str(path), stamp.st_size, stamp.st_mtime_ns, stamp.st_ctime_ns)


@lru_cache(maxsize=64)
def _kinds(path: Path, said: str, size: int, mtime_ns: int, ctime_ns: int) -> dict[str, Any]:
    """Column -> what makes its values of the fields, in a file as it is now: a sweep reads its tasks many times."""
    separator = _separator(path)
    columns: list[set[str]] = []
    header: list[str] = []
    for line, fields in _rows(path, said, separator):
        if not header:
            header = fields
            _refuse_twice(header, said)
            columns = [set() for _ in header]
            continue
        if len(fields) > len(header):
            raise TaskError(
                f"data file '{said}': line {line} has {len(fields)} fields where the header names {len(header)}: put "
                f"texts that hold a '{separator}' in double quotes, or take out what is too much."
            )
        if not any(fields):
            raise TaskError(f"data file '{said}': line {line} has nothing in any column: take it out.")
        for seen, field in zip(columns, [*fields, *[""] * (len(header) - len(fields))], strict=True):
            seen.add(field)
    return dict(zip(_names(header), map(_kind, columns), strict=True))


def _names(header: list[str]) -> list[str]:
    """The columns' names; one without a name, such as that of R's row names, is called as pandas calls it."""
    return [name or f"Unnamed: {place}" for place, name in enumerate(header)]


def _refuse_twice(header: list[str], said: str) -> None:
    twice = next((name for name in header if name and header.count(name) > 1), None)
    if twice is not None:
        raise TaskError(f"data file '{said}': the header names '{twice}' twice: rename one of the columns.")


def _separator(path: Path) -> str:
    known = _SEPARATORS[ending(path)]
    counted = {one: len(next(_rows(path, str(path), one, strict=False), (0, []))[1]) for one in known}
    return known[0] if counted[known[0]] > 1 else max(known, key=lambda one: counted[one])


def _rows(path: Path, said: str, separator: str, strict: bool = True) -> Iterator[tuple[int, list[str]]]:
    """The line that each row ends on, and its fields; empty lines are none.

    Strict, since a quote that nothing closes takes the rows after it for its text, up to the next quote or the end.
    """
    csv.field_size_limit(1 << 30)  # a passage may be longer than the 128 KiB that are Python's guess
    with opened(path, newline="") as file:
        reader = csv.reader(file, delimiter=separator, strict=strict)
        last = 0
        try:
            for fields in reader:
                last = reader.line_num
                if fields:
                    yield last, fields
        except csv.Error as error:
            if "expected after" in str(error) or "end of data" in str(error):
                mark = {"\t": "a tab"}.get(separator, f"'{separator}'")
                raise TaskError(
                    f"data file '{said}': line {last + 1} has a text that begins with a double quote and does not end "
                    f"with one before {mark} or the line's end: put such a text in double quotes and write those "
                    'within it twice, """Yes"" he said".'
                ) from None
            raise TaskError(f"data file '{said}': line {reader.line_num} is no row of a table ({error}).") from None


def _kind(texts: set[str]) -> Any:
    """What makes a value of each of these texts, without a loss."""
    if all(_WHOLE.fullmatch(text) for text in texts):
        return int
    if all(_fraction(text) for text in texts):
        return float
    both = all(texts & set(words) for words in _LOGICAL) and texts <= {word for words in _LOGICAL for word in words}
    return _is_true if both else str


def _is_true(text: str) -> bool:
    return text in _LOGICAL[0]


def _fraction(text: str) -> bool:
    return _FRACTION.fullmatch(text) is not None and str(float(text)) == text
