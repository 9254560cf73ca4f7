"""The first rows of a data file, as the task will see them, and its columns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from evalrun.errors import ConfigError, TaskError, first_line
from evalrun.task_data import BUILDERS

LOOKED_AT = 1000  # rows that tell what the columns are; scoring checks all of them


@dataclass(frozen=True)
class Rows:
    """What was looked at."""

    path: Path
    rows: tuple[dict[str, Any], ...]
    all: bool  # whether the file has no more

    @property
    def columns(self) -> list[str]:
        """Names of the columns that every row has, in their order."""
        return [name for name in self.rows[0] if all(name in row for row in self.rows)]

    def values(self, column: str) -> list[Any]:
        """A column."""
        return [row[column] for row in self.rows]

    @property
    def repeated(self) -> int:
        """How many rows equal an earlier one."""
        return len(self.rows) - len({json.dumps(row, sort_keys=True, default=str) for row in self.rows})


def read(path: Path) -> Rows:
    """Read the first rows.

    Raises:
        ConfigError: no such file, or of a kind that cannot be read.
        TaskError: a file that is empty or damaged, with the line where that can be said.
    """
    builder = BUILDERS.get(path.suffix.lower())
    if builder is None:
        raise ConfigError(f"data file '{path}' must end in one of {', '.join(BUILDERS)}.")
    if not path.is_file():
        raise ConfigError(f"data file '{path}' is not there (looked from {Path.cwd()}): name one row-by-row file.")
    reader = _json_rows if builder == "json" else _csv_rows if builder == "csv" else _parquet_rows
    try:
        found = list(islice(reader(path), LOOKED_AT + 1))
    except UnicodeDecodeError:
        raise TaskError(f"data file '{path}' is not UTF-8 text: save it as UTF-8.") from None
    if not found:
        raise TaskError(f"data file '{path}' has no rows: put one item in each.")
    return Rows(path, tuple(found[:LOOKED_AT]), len(found) <= LOOKED_AT)


def _json_rows(path: Path) -> Iterator[dict[str, Any]]:
    if path.suffix.lower() == ".json":
        text = path.read_text(encoding="utf-8")
        if text.lstrip()[:1] in ("[", ""):
            yield from _objects(path, _parsed(path, text or "[]"))
            return
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield from _objects(path, [_parsed(path, line.strip(), number)], number)


def _parsed(path: Path, text: str, first: int = 1) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = first + error.lineno - 1
        raise TaskError(f"data file '{path}': line {line} is not valid JSON ({error.msg}).") from None


def _objects(path: Path, found: list[Any], first: int = 1) -> Iterator[dict[str, Any]]:
    for number, one in enumerate(found, start=first):
        if not isinstance(one, dict):
            raise TaskError(
                f"data file '{path}': row {number} is {json.dumps(one)[:40]}, where an object with a key for each "
                'column is expected, {"question": ..., "choices": [...], "answer": 0}.'
            )
        yield one


def _csv_rows(path: Path) -> Iterator[dict[str, Any]]:
    import pandas as pd

    try:
        frame = pd.read_csv(path, nrows=LOOKED_AT + 1, sep="\t" if path.suffix.lower() == ".tsv" else ",")
    except UnicodeDecodeError:
        raise
    except ValueError as error:  # pandas' parser and "no columns" errors among them
        raise TaskError(f"data file '{path}' cannot be read as a table ({first_line(error)}).") from None
    plain = frame.astype(object).where(frame.notna(), None)
    for record in plain.to_dict("records"):
        yield {str(name): value for name, value in record.items()}


def _parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(LOOKED_AT + 1):
                yield from batch.to_pylist()
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise TaskError(f"data file '{path}' cannot be read as Parquet ({first_line(error)}).") from None
