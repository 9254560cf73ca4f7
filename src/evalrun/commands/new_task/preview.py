"""The first rows of a data file, as the task will see them, and its columns."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from evalrun.core.errors import ConfigError, TaskError, suggest
from evalrun.tasks import data_rows
from evalrun.tasks.data_rows import BUILDERS, TABLES, kind_of

LOOKED_AT = 1000  # rows that tell what the columns are; scoring checks all of them
_REMEDIES = {
    **dict.fromkeys((".gz", ".zip", ".bz2", ".xz", ".zst"), "unpack it first"),
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "save the table as .csv in UTF-8"),
    "": "a dataset of the hub needs a task file written by hand, with dataset_path",
}


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
        """The values of a column, a row each."""
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
    builder = BUILDERS.get(kind_of(path))
    if path.is_dir():
        raise ConfigError(f"'{path}' is a folder: name one file in it, {_others(path)}")
    if builder is None:
        remedy = _REMEDIES.get(path.suffix.lower())
        ending = f": {remedy}" if remedy else ""
        raise ConfigError(f"data file '{path}' must end in one of {', '.join(TABLES)}{ending}.")
    if builder == "text" and path.is_file():
        raise ConfigError(
            f"'{path}' is held-out text, for which there is nothing to guess: write data: {path} and output_type: "
            "loglikelihood_rolling into a file of conf/task."
        )
    if not path.is_file():
        others = _others(path.parent, path.name)
        raise ConfigError(f"data file '{path}' is not there (looked from {Path.cwd()}): {others}")
    found = list(islice(data_rows.read(path), LOOKED_AT + 1))
    if not found:
        raise TaskError(f"data file '{path}' has no rows: put one item in each.")
    return Rows(path, tuple(found[:LOOKED_AT]), len(found) <= LOOKED_AT)


def _others(folder: Path, name: str = "") -> str:
    """The data files of a folder that could be meant."""
    found = [file.name for file in folder.glob("*") if kind_of(file) in TABLES] if folder.is_dir() else []
    return suggest(name, found) if found else f"it must end in one of {', '.join(TABLES)}."
