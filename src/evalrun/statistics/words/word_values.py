"""What is known of words beside a model: their length, and the numbers of tables that are keyed by word or by place.

A table has a column `word`, or the columns `doc_id` and `word_id`, and numbers. Words of texts carry marks and capitals
that lists of frequencies lack: a word that is not in a list is looked for without the marks at its ends, then in lower
case, then without both. Columns called `frequency` or `count` are taken as log10, of what is above 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from evalrun.core.errors import ConfigError, suggest
from evalrun.statistics.items.values import Floats

LENGTH = "length"  # characters
_PLACE = ["doc_id", "word_id"]
_COUNTS = ("frequency", "count", "freq")


def word_values(words: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> dict[str, Floats]:
    """Numbers of each word: its length, and each column of numbers of each table, NaN where it says nothing.

    Args:
        words: Of `word_map`.
        tables: By the file's name, for messages.

    Raises:
        ConfigError: a table without keys or numbers, or with a word or place twice, or a name that two tables have.
    """
    length = (words["end"] - words["start"]).to_numpy(np.float64)
    found: dict[str, Floats] = {LENGTH: np.where(words["word"] == "", np.nan, length)}
    spelt, code = np.unique(words["word"].to_numpy(dtype=str), return_inverse=True)
    for name, table in tables.items():
        by_place = set(_PLACE) <= set(table.columns)
        keys = _PLACE if by_place else ["word"]
        numbers = _numbers(name, table, keys)
        if by_place:
            place = pd.MultiIndex.from_frame(words[_PLACE].astype(str))
            rows = pd.MultiIndex.from_frame(table[_PLACE].astype(str)).get_indexer(place)
        else:
            rows = _rows_of(spelt, pd.Index(table["word"].astype(str)))[code]
        for column, values in numbers.items():
            own = f"log_{column}" if column in _COUNTS else column
            if own in found:
                raise ConfigError(f"'{own}' is a column of two tables of words, one of them '{name}': rename it there.")
            if column in _COUNTS:
                values = np.log10(np.where(values > 0, values, np.nan))
            found[own] = np.where(rows >= 0, values[np.maximum(rows, 0)], np.nan)
    return found


def _numbers(name: str, table: pd.DataFrame, keys: Sequence[str]) -> dict[str, Floats]:
    """The columns of numbers of a table.

    Args:
        name: Of its file.
        table: As it was read.
        keys: The columns that say which word a row is of.

    Raises:
        ConfigError: as `word_values`.
    """
    if lacking := [key for key in keys if key not in table]:
        near = suggest(lacking[0], [str(column) for column in table.columns])
        raise ConfigError(f"'{name}' has no column 'word', and none of 'doc_id' and 'word_id': {near}")
    twice = table[list(keys)].astype(str).duplicated()
    if twice.any():
        row = int(np.flatnonzero(twice)[0])
        said = " ".join(str(table[key].iloc[row]) for key in keys)
        raise ConfigError(f"'{name}' has '{said}' twice, again in row {row + 1}: leave one row of it.")
    found = {}
    for column in table.columns:
        if column in keys or column in ("word", *_PLACE):
            continue
        values: Any = pd.to_numeric(table[column].replace("", None), errors="coerce")
        if values.notna().any() and values.notna().sum() == table[column].replace("", None).notna().sum():
            found[str(column)] = values.to_numpy(np.float64)
    if not found:
        raise ConfigError(f"'{name}' has no column of numbers beside {' and '.join(map(repr, keys))}: add one.")
    return found


def bare(word: str) -> str:
    """A word without the marks at its ends; one of marks alone stays."""
    start, end = 0, len(word)
    while start < end and not word[start].isalnum():
        start += 1
    while end > start and not word[end - 1].isalnum():
        end -= 1
    return word[start:end] or word


def _rows_of(spelt: Any, known: pd.Index) -> Any:
    """(spellings,) the row of a table that each is found in; -1: none."""
    rows = known.get_indexer(pd.Index(spelt))
    for change in (bare, str.lower, lambda word: bare(word).lower()):
        left = np.flatnonzero(rows < 0)
        rows[left] = known.get_indexer(pd.Index([change(str(word)) for word in spelt[left]], dtype=object))
    return rows
