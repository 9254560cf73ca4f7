"""The first rows of a data file, as the task will see them, and its columns."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from evalrun import task_tables
from evalrun.errors import ConfigError, TaskError, first_line, nearest
from evalrun.task_data import BUILDERS

LOOKED_AT = 1000  # rows that tell what the columns are; scoring checks all of them
_REMEDIES = {
    **dict.fromkeys((".gz", ".zip", ".bz2", ".xz", ".zst"), "unpack it first"),
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "save the table as .csv in UTF-8"),
    "": "a dataset of the hub needs a task file written by hand, with dataset_path",
}
_ONE_OBJECT = 'where a list of objects is expected, [{"question": ..., "choices": [...], "answer": 0}, ...]'


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

    def hole(self, column: str) -> int | None:
        """The first row that has nothing in a column: no such key, null, NaN or no text; from 0."""
        held = (row.get(column) for row in self.rows)
        return next((n for n, value in enumerate(held) if value in (None, "") or _is_nan(value)), None)

    def mostly_text(self, column: str) -> bool:
        """Whether text is in most rows of a column."""
        texts = [row for row in self.rows if isinstance(row.get(column), str) and row[column]]
        return 2 * len(texts) > len(self.rows)

    @property
    def repeated(self) -> int:
        """How many rows equal an earlier one."""
        return len(self.rows) - len({json.dumps(row, sort_keys=True, default=str) for row in self.rows})


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def read(path: Path) -> Rows:
    """Read the first rows.

    Raises:
        ConfigError: no such file, or of a kind that cannot be read.
        TaskError: a file that is empty or damaged, with the line where that can be said.
    """
    builder = BUILDERS.get(path.suffix.lower())
    if path.is_dir():
        raise ConfigError(f"'{path}' is a folder: name one file in it, {_others(path)}")
    if builder is None:
        remedy = _REMEDIES.get(path.suffix.lower())
        ending = f": {remedy}" if remedy else ""
        raise ConfigError(f"data file '{path}' must end in one of {', '.join(BUILDERS)}{ending}.")
    if not path.is_file():
        others = _others(path.parent, path.name)
        raise ConfigError(f"data file '{path}' is not there (looked from {Path.cwd()}): {others}")
    reader = _json_rows if builder == "json" else _csv_rows if builder == "csv" else _parquet_rows
    try:
        found = list(islice(reader(path), LOOKED_AT + 1))
    except UnicodeDecodeError:
        raise TaskError(f"data file '{path}' is not UTF-8 text: save it as UTF-8.") from None
    if not found:
        raise TaskError(f"data file '{path}' has no rows: put one item in each.")
    return Rows(path, tuple(found[:LOOKED_AT]), len(found) <= LOOKED_AT)


def _others(folder: Path, name: str = "") -> str:
    """The data files of a folder that could be meant."""
    found = [file.name for file in folder.glob("*") if file.suffix.lower() in BUILDERS] if folder.is_dir() else []
    return nearest(name, found) if found else f"it must end in one of {', '.join(BUILDERS)}."


def _json_rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        if file.read(3) == b"\xef\xbb\xbf":
            raise TaskError(f"data file '{path}' starts with a byte order mark: save it as UTF-8 without one (no BOM).")
    if path.suffix.lower() == ".json":
        text = path.read_text(encoding="utf-8")
        if text.lstrip()[:1] in ("[", ""):
            yield from _objects(path, _parsed(path, text or "[]"))
            return
        _refuse_one_object(path, text)
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield from _objects(path, [_parsed(path, line.strip(), number)], number)


def _refuse_one_object(path: Path, text: str) -> None:
    """Say what a file is that holds one object, a row on each line of it being what may follow instead.

    Raises:
        TaskError: it is one object.
    """
    try:
        whole = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # an object on each line
            return
        raise TaskError(f"data file '{path}': line {error.lineno} is not valid JSON ({error.msg}).") from None
    if not isinstance(whole, dict):
        return
    lists = [name for name, value in whole.items() if isinstance(value, list) and value and isinstance(value[0], dict)]
    if lists:
        raise TaskError(f"data file '{path}' is one object {_ONE_OBJECT}: save what is under '{lists[0]}' alone.")
    if len(whole) > 1 and all(isinstance(value, (list, dict)) for value in whole.values()):
        remedy = "with pandas, write it by df.to_json(..., orient='records')"
        raise TaskError(f"data file '{path}' is one object, column by column, {_ONE_OBJECT}: {remedy}.")


def _parsed(path: Path, text: str, first: int = 1) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = first + error.lineno - 1
        raise TaskError(f"data file '{path}': line {line} is not valid JSON ({error.msg}).") from None


def _objects(path: Path, found: list[Any], first: int = 1) -> Iterator[dict[str, Any]]:
    for number, one in enumerate(found, start=first):
        if isinstance(one, list) and path.suffix.lower() == ".jsonl":
            raise TaskError(
                f"data file '{path}': line {number} is a list: name the file .json, or put a row on each line."
            )
        if not isinstance(one, dict):
            raise TaskError(
                f"data file '{path}': row {number} is {json.dumps(one)[:40]}, where an object with a key for each "
                'column is expected, {"question": ..., "choices": [...], "answer": 0}.'
            )
        yield one


def _csv_rows(path: Path) -> Iterator[dict[str, Any]]:
    import pandas as pd

    try:
        frame = pd.read_csv(path, nrows=LOOKED_AT + 1, **task_tables.options(path))
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
