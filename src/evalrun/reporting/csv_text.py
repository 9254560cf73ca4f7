"""Frames as CSV, byte for byte as pandas writes them: column by column, each different value put into words once."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
import pandas as pd

_QUOTED = set(',"\n\r')  # a text with one of these may want quotes: left to the standard library


def csv_text(frame: pd.DataFrame) -> str:
    """A frame as CSV, whole numbers as such."""
    whole = frame.copy()
    for column in ("seed", "step", "n", "tokens", "df"):
        if column in whole and pd.api.types.is_float_dtype(whole[column]) and (whole[column].dropna() % 1 == 0).all():
            whole[column] = whole[column].astype("Int64")  # a missing seed makes the others 1.0, 2.0
    return as_csv(whole)


def as_csv(frame: pd.DataFrame) -> str:
    """What `frame.to_csv(index=False, lineterminator="\\n")` says, in a quarter of the time.

    Args:
        frame: Columns of numbers, truth values and text.
    """
    columns = [_words(frame.iloc[:, place]) for place in range(frame.shape[1])]
    known = [words for words in columns if words is not None]
    if len(known) < len(columns) or len(columns) < 2:  # a lone empty text is quoted
        return str(frame.to_csv(index=False, lineterminator="\n"))
    head = ",".join(_quoted(str(name)) for name in frame.columns)
    return "\n".join([head, *map(",".join, zip(*known, strict=True)), ""])


def _words(column: pd.Series[Any]) -> list[str] | None:
    """The values of a column as CSV has them; None of a kind that is left to pandas."""
    if column.dtype == np.float64:  # told apart by their bits: 0.0 and -0.0 are two texts
        codes, bits = pd.factorize(column.to_numpy().view(np.int64))
        words = ["" if value != value else repr(value) for value in bits.view(np.float64).tolist()]
    elif isinstance(column.dtype, pd.StringDtype):
        each: list[str] = column.fillna("").tolist()
        every = "\0".join(each)
        if not any(mark in every for mark in _QUOTED):  # keys and runs are all different
            return each
        codes, texts = pd.factorize(column)
        words = [*map(_quoted, texts.tolist()), ""]  # the last is that of code -1: nothing is known
    elif column.dtype == object:
        return ["" if is_unknown else _quoted(value) for value, is_unknown in zip(column, column.isna(), strict=True)]
    elif isinstance(column.dtype, pd.Int64Dtype) or column.dtype.kind in "iub":
        return ["" if value is pd.NA else str(value) for value in column.tolist()]
    else:
        return None
    return [words[code] for code in codes.tolist()]


def _quoted(value: Any) -> str:
    """A text, in quotes where it needs them."""
    text = str(value)
    if _QUOTED.isdisjoint(text):
        return text
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow([text, ""])
    return buffer.getvalue()[: -len(",\n")]
