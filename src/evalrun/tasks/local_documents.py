"""Local data as lm-eval takes it: what it asks of a `datasets.Dataset`, over rows that stay as they were written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from evalrun.core.errors import TaskError
from evalrun.tasks import data_rows

Row = dict[str, Any]


class Documents(Sequence[Row]):
    """Rows, each with every column, None where a row lacks one. A row is handed out new each time, as `datasets` does
    it, since a task's code may change what it is given.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]], columns: Iterable[str] | None = None) -> None:
        held = list(rows)
        names = dict.fromkeys(name for row in held for name in row) if columns is None else dict.fromkeys(columns)
        self.features: dict[str, None] = names
        order = list(names)
        self._rows = [dict(row) if list(row) == order else {name: row.get(name) for name in order} for row in held]

    @property
    def column_names(self) -> list[str]:
        """The columns, in the order in which they are met."""
        return list(self.features)

    def rename_columns(self, names: Mapping[str, str]) -> Documents:
        """Rows with columns under other names."""
        renamed = [{names.get(name, name): value for name, value in row.items()} for row in self._rows]
        return Documents(renamed, [names.get(name, name) for name in self.features])

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return (_fresh(row) for row in self._rows)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, str):
            return [_fresh(row[place]) for row in self._rows]
        found = self._rows[place]
        return [_fresh(row) for row in found] if isinstance(place, slice) else _fresh(found)


def read(splits: Mapping[str, Path], code: Callable[..., Any] | None) -> dict[str, Any]:
    """The splits of a task's local data.

    Args:
        splits: Split -> file.
        code: The task's process_docs where it is not evalrun's own, which may ask for anything that `datasets` does.

    Raises:
        TaskError: a file that cannot be read, with the line.
    """
    texts = data_rows.text_columns(splits.values())
    held: dict[Path, Documents] = {}  # a file that serves two splits is read once
    for path in splits.values():
        if path not in held:
            held[path] = Documents(data_rows.read(path, texts))
    return {split: _dataset(path, held[path]) if code else held[path] for split, path in splits.items()}


def _dataset(path: Path, documents: Documents) -> Any:
    """The rows as a `datasets.Dataset`, with types that hold them as they are.

    Raises:
        TaskError: a column whose values no such type can hold.
    """
    from datasets import Dataset, Features

    if path.suffix.lower() == ".parquet":  # whose types are written in the file
        import pyarrow.parquet

        return Dataset(pyarrow.parquet.read_table(path))
    shapes = {name: shape(documents[name]) for name in documents.features}
    features = Features({name: _feature(found) for name, found in shapes.items()})
    rows = list(documents)
    found = Dataset.from_list(rows, features=features)
    for name in (name for name, one in shapes.items() if one == MIXED):
        for number, (asked, got) in enumerate(zip(documents[name], found[name], strict=True), start=1):
            if repr(asked) != repr(got):
                raise TaskError(
                    f"data file '{path}': row {number} has {asked!r} in '{name}', which `datasets`, that the task's "
                    f"process_docs works on, reads as {got!r} beside what other rows hold: write that column as text."
                )
    return found


MIXED = "mixed"


def shape(values: Iterable[Any]) -> Any:
    """What all values of a column are: "int", "str", ..., ["list", inner], ["dict", {key: inner}]; None where they are
    all null; MIXED where no one type holds each as it is written.
    """
    found: Any = None
    for value in values:
        found = _merged(found, _shape(value))
        if found == MIXED:
            return MIXED
    return found


def _shape(value: Any) -> Any:
    if isinstance(value, list):
        inner = shape(value)
        return MIXED if inner == MIXED else ["list", inner]
    if isinstance(value, dict):
        parts = {key: _shape(one) for key, one in value.items()}
        return MIXED if not parts or MIXED in parts.values() else ["dict", parts]
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        return MIXED
    return None if value is None else type(value).__name__


def _merged(one: Any, other: Any) -> Any:
    """The shape that two values share: None fits all, MIXED where kinds, keys or their order differ."""
    if one is None or other is None or one == other:
        both_dicts = isinstance(one, list) and isinstance(other, list) and one[0] == "dict"
        if both_dicts and list(one[1]) != list(other[1]):  # in another order, which a template may go by
            return MIXED
        return other if one is None else one
    if not isinstance(one, list) or not isinstance(other, list) or one[0] != other[0]:
        return MIXED
    if one[0] == "list":
        inner = _merged(one[1], other[1])
        return MIXED if inner == MIXED else ["list", inner]
    if list(one[1]) != list(other[1]):
        return MIXED
    parts = {key: _merged(one[1][key], other[1][key]) for key in one[1]}
    return MIXED if MIXED in parts.values() else ["dict", parts]


def _feature(found: Any) -> Any:
    from datasets import Json, List, Value

    if found == MIXED:
        return Json()
    if isinstance(found, list):
        return List(_feature(found[1])) if found[0] == "list" else {key: _feature(one) for key, one in found[1].items()}
    known = {None: "null", "int": "int64", "float": "float64", "bool": "bool", "str": "string"}
    return Value(known[found]) if found in known else None


def _fresh(value: Any) -> Any:
    """A copy of what can be changed."""
    if isinstance(value, dict):
        return {key: _fresh(one) for key, one in value.items()}
    return [_fresh(one) for one in value] if isinstance(value, list) else value
