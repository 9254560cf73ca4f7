"""The rows of a data file, each value as it is written there: nothing is guessed from what other rows hold.

`datasets` and pandas infer types: a column of dates becomes timestamps, 2 beside 0.5 becomes 2.0, whole numbers beyond
64 bits become floats, and rows come from a cache that is known by a file's path and time, not by its content.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from evalrun.core.errors import TaskError, first_line
from evalrun.tasks import tabular
from evalrun.tasks.packed import content, ending, opened

BUILDERS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".txt": "text"}
TABLES = tuple(ending for ending, builder in BUILDERS.items() if builder != "text")  # of files with a row an item
_ONE_OBJECT = 'where a list of objects is expected, [{"question": ..., "choices": [...], "answer": 0}, ...]'
_HALF = re.compile(r"\\u[dD][89a-fA-F]")  # the escape of half of a character, good where the other half follows
_BATCH = 1000


def builder_of(path: Path) -> str | None:
    """How a file is read, or a folder of files; None where no way is known."""
    return "text" if path.is_dir() else BUILDERS.get(kind_of(path))


def kind_of(path: Path) -> str:
    """The ending by which a file is read: a key of `BUILDERS`, or what is none; Parquet has compression of its own."""
    found = ending(path)
    return path.suffix.lower() if found == ".parquet" else found


def files_in(folder: Path) -> list[Path]:
    """The files of a folder and those below it that can be read, in the order of their names."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and kind_of(path) in BUILDERS]


def read(path: Path, texts: Iterable[str] = ()) -> Iterator[dict[str, Any]]:
    """The rows of a file one by one, with the keys that each has.

    Args:
        path: A file whose name ends in one of `BUILDERS`, or a folder of such files. A .txt file is one row with its
            text as it is.
        texts: Columns of a table that are text, whatever they hold; see `text_columns`.

    Raises:
        TaskError: what cannot be read, with its line where that can be said.
    """
    if path.is_dir():
        for file in files_in(path):
            yield from read(file, text_columns([file]))
        return
    builder = BUILDERS[kind_of(path)]
    try:
        if builder == "text":
            yield {"text": content(path).decode("utf-8-sig"), "file": path.name}
        elif builder == "json":
            yield from _json_rows(path)
        elif builder == "csv":
            yield from tabular.rows(path, texts)
        else:
            yield from _parquet_rows(path)
    except UnicodeDecodeError as error:
        where = f" (byte {error.start})" if builder == "text" else ""
        raise TaskError(f"data file '{path}' is not UTF-8 text{where}: save it as UTF-8.") from None


def text_columns(paths: Iterable[Path]) -> frozenset[str]:
    """The columns that are text in one of several tables, and so in all of them: splits of a task are read alike.

    Raises:
        TaskError: a table is not UTF-8.
    """
    tables = [path for path in paths if builder_of(path) == "csv"]
    try:
        return frozenset(column for path in tables for column in tabular.text_columns(path))
    except UnicodeDecodeError:
        named = ", ".join(f"'{path}'" for path in tables)
        raise TaskError(f"data file {named} is not UTF-8 text: save it as UTF-8.") from None


def _json_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a JSON file that is one list, or has an object on each line.

    Raises:
        TaskError: it is neither, or a row is no object.
    """
    with opened(path) as lines:
        opening = next((line for line in lines if line.strip()), "")
    if opening.lstrip()[:1] == "[":
        whole = _whole(path)
        if whole is not None:
            yield from _objects(path, whole)
            return
    if kind_of(path) == ".json":
        _refuse_one_object(path)
    with opened(path) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield from _objects(path, [_parsed(path, line.strip(), number)], number)


def _whole(path: Path) -> list[Any] | None:
    """The list that a file is; None for lists line by line, which are said where they are read."""
    text = content(path).decode("utf-8-sig")
    try:
        found = _parsed(path, text)
    except TaskError:
        if kind_of(path) == ".jsonl":
            return None
        raise
    if kind_of(path) == ".jsonl" and not all(isinstance(one, dict) for one in found):
        return None
    if found and all(isinstance(one, str) for one in found):  # as `datasets` names the column of such a list
        return [{"text": one} for one in found]
    return list(found)


def _refuse_one_object(path: Path) -> None:
    """Say what a file is that holds one object, a row on each line of it being what may follow instead.

    Raises:
        TaskError: it is one object.
    """
    text = content(path).decode("utf-8-sig")
    try:
        whole = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # an object on each line
            return
        raise TaskError(f"data file '{path}': line {error.lineno} is not valid JSON ({error.msg}).") from None
    except RecursionError:
        raise TaskError(f"data file '{path}' is nested too deeply to be read.") from None
    if not isinstance(whole, dict):
        return
    lists = [name for name, value in whole.items() if isinstance(value, list) and value and isinstance(value[0], dict)]
    if lists:
        raise TaskError(f"data file '{path}' is one object {_ONE_OBJECT}: save what is under '{lists[0]}' alone.")
    if len(whole) > 1 and all(isinstance(value, (list, dict)) for value in whole.values()):
        remedy = "with pandas, write it by df.to_json(..., orient='records')"
        raise TaskError(f"data file '{path}' is one object, column by column, {_ONE_OBJECT}: {remedy}.")
    if "\n" in text.strip():
        raise TaskError(f"data file '{path}' is one object on several lines {_ONE_OBJECT}.")


def _parsed(path: Path, text: str, first: int = 1) -> Any:
    """Parse JSON; a key that stands twice or half of a character is refused.

    Args:
        path: The file, for messages.
        text: A line or the whole of it.
        first: Number of its first line.

    Raises:
        TaskError: with the line.
    """
    try:
        found = json.loads(text, object_pairs_hook=_pairs)
        if _HALF.search(text):
            json.dumps(found, ensure_ascii=False).encode()
        return found
    except UnicodeEncodeError:
        raise TaskError(
            f"data file '{path}': a row {'of line' if '.jsonl' in path.name else 'after line'} {first} holds half of a "
            "character (an escape of \\ud800 to \\udfff alone), which is no text: write the character whole."
        ) from None
    except json.JSONDecodeError as error:
        line = first + error.lineno - 1
        raise TaskError(f"data file '{path}': line {line} is not valid JSON ({error.msg}).") from None
    except RecursionError:
        raise TaskError(f"data file '{path}': line {first} is nested too deeply to be read.") from None
    except _TwiceError as error:
        where = f"line {first} has" if kind_of(path) == ".jsonl" else "an object has"
        raise TaskError(f"data file '{path}': {where} the key '{error}' twice: take one out.") from None
    except ValueError as error:  # an integer of more than 4300 digits
        raise TaskError(f"data file '{path}': line {first} cannot be read ({first_line(error)}).") from None


class _TwiceError(Exception):
    """A key that an object has twice: which of its values is meant cannot be known."""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _TwiceError(next(name for name in names if names.count(name) > 1))
    return found


def _objects(path: Path, found: list[Any], first: int = 1) -> Iterator[dict[str, Any]]:
    """The rows among parsed values.

    Args:
        path: The file, for messages.
        found: The values.
        first: Number of the first.

    Raises:
        TaskError: one is no object.
    """
    for number, one in enumerate(found, start=first):
        if isinstance(one, list) and kind_of(path) == ".jsonl":
            raise TaskError(
                f"data file '{path}': line {number} is a list: name the file .json, or put a row on each line."
            )
        if not isinstance(one, dict):
            raise TaskError(
                f"data file '{path}': row {number} is {json.dumps(one)[:40]}, where an object with a key for each "
                'column is expected, {"question": ..., "choices": [...], "answer": 0}.'
            )
        yield one


def _parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a Parquet file, columns of Arrow's type json parsed.

    Raises:
        TaskError: it cannot be read.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            written = [field.name for field in file.schema_arrow if "arrow.json" in str(field.type)]
            for batch in file.iter_batches(_BATCH):
                for row in batch.to_pylist():
                    yield row | {name: json.loads(row[name]) for name in written if row[name] is not None}
    except (pyarrow.ArrowException, OSError) as error:
        raise TaskError(f"data file '{path}' cannot be read as Parquet ({first_line(error)}).") from None
