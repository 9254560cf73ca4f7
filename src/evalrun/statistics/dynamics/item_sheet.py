"""One checkpoint's answers to a task as plain arrays, read column by column without a Python object an item."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from evalrun.statistics.items.right_choices import gold_of
from evalrun.statistics.items.values import Floats, Items, columns_of, item_values

Tables = Callable[[str, str, Sequence[str]], "pa.Table | None"]
"""MLflow run id, task and wanted columns -> an Arrow table with a row an item and those of the columns, or None."""

Reals = np.ndarray[Any, np.dtype[np.floating[Any]]]  # of any size: kept in four bytes once read
Numbers = np.ndarray[Any, np.dtype[np.signedinteger[Any]]]
Integers = np.ndarray[Any, np.dtype[np.int64]]
_ANSWERS = ["target", "prediction", "acc", "acc_mutual_info"]
_SCALARS = ["doc_id", "doc_hash", "prompt_hash", "filter", *_ANSWERS]


@dataclass(frozen=True)
class ItemSheet:
    """What one checkpoint answered; all arrays have an entry an item."""

    keys: pa.Table  # doc_id and, where they are there, doc_hash and prompt_hash
    right: Reals  # 1 right, 0 wrong, a tie its share of right choices, NaN where there is no finite log-probability
    margin: Reals  # log-probability of the right choice less that of the best wrong one, nats; NaN where not known
    chosen: Numbers  # place of the likeliest choice; -1 where there is none
    gold: Integers  # place of the right choice; -1 where it is not one known place
    choices: Integers  # how many; 0 where the answer is free
    logprobs: Floats | None  # (items, most choices) nats, -inf where an item has fewer; None where there are none
    shares: np.ndarray[Any, np.dtype[np.uint8]] | None = None  # codes of `choice_shares`, if asked for


def tables_of(items: Items) -> Tables:
    """Arrow tables from whatever gives items: those of a store directly, frames converted."""
    direct = getattr(items, "table", None)
    if direct is not None:
        return direct  # type: ignore[no-any-return]

    def convert(run_id: str, task: str, columns: Sequence[str]) -> pa.Table | None:
        frame = items(run_id, task, columns)
        return None if frame is None else pa.Table.from_pandas(frame, preserve_index=False)

    return convert


def read_sheet(tables: Tables, run_id: str, task: str, metric: str) -> ItemSheet | None:
    """Read one checkpoint's answers.

    Args:
        tables: Gives per-item results.
        run_id: MLflow run.
        task: Task name.
        metric: As in the tidy table. By `acc` an answer is the likeliest choice, and ties count as their share; any
            other metric must be 0 or 1 on each item, and has no margin.

    Returns:
        The answers; None where there are no items or none with this metric. Of several filters the metric's counts.
    """
    table = tables(run_id, task, _wanted(metric))
    if table is None or not table.num_rows or "doc_id" not in table.column_names:
        return None
    if metric == "acc" and {"logprobs", "target"} <= set(table.column_names):
        return _by_logprobs(_first_filter(table))
    values = item_values(_scalars(table), metric)
    if values is None:
        return None
    nothing = np.full(len(values.values), -1, dtype=np.int64)
    keys = pa.table({name: pa.array(key) for name, key in values.keys.items()})
    no_margin = np.full(len(nothing), np.nan)
    return ItemSheet(keys, values.values, no_margin, nothing, nothing, np.zeros_like(nothing), None)


@lru_cache(maxsize=32)
def _wanted(metric: str) -> tuple[str, ...]:
    """The columns that a metric's answers may need."""
    return tuple(dict.fromkeys([*_SCALARS, *columns_of(metric), *(["logprobs"] if metric == "acc" else [])]))


def _first_filter(table: pa.Table) -> pa.Table:
    if "filter" not in table.column_names:
        return table
    column = table["filter"]
    return table if pc.count_distinct(column).as_py() == 1 else table.filter(pc.equal(column, column[0]))


def _scalars(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.drop_columns([name for name in ("logprobs",) if name in table.column_names]).to_pandas()
    return frame


def _by_logprobs(table: pa.Table) -> ItemSheet | None:
    """Answers by the highest log-probability; where the right choice is no known place, `acc` says what was right."""
    logprobs, counts = padded(table["logprobs"], 2 if "acc_mutual_info" in table.column_names else 1)
    frame = table.select([name for name in _ANSWERS if name in table.column_names]).to_pandas()
    acc = pd.to_numeric(frame["acc"], errors="coerce").to_numpy(np.float64) if "acc" in frame else None
    told = gold_of(frame, counts)
    known = (told >= 0) & (told < counts) & (told == np.floor(told)) & (counts > 1)
    gold = np.where(known, told, -1).astype(np.int64)
    if acc is None and not known.any():
        return None
    rows, place = np.arange(len(gold)), np.maximum(gold, 0)
    highest = logprobs.max(axis=1, initial=-np.inf)
    sound = ((highest < np.inf) & (highest > -np.inf)) | (counts == 0)  # NaN is neither
    best = logprobs == highest[:, None]
    right = np.where(best[rows, place], 1 / np.maximum(best.sum(axis=1), 1), 0.0)
    right = np.where(known, right, np.nan if acc is None else acc)
    others = logprobs.copy()
    others[rows, place] = -np.inf
    with np.errstate(invalid="ignore"):
        margin = logprobs[rows, place] - others.max(axis=1, initial=-np.inf)
    margin = np.where(known & sound & np.isfinite(margin), margin, np.nan)
    chosen = np.where(sound & (counts > 1), best.argmax(axis=1), -1)
    names = [name for name in ("doc_id", "doc_hash", "prompt_hash") if name in table.column_names]
    several = np.where(counts > 1, counts, 0)
    return ItemSheet(table.select(names), np.where(sound, right, np.nan), margin, chosen, gold, several, logprobs)


def padded(column: pa.ChunkedArray, parts: int = 1) -> tuple[Floats, Integers]:
    """Lists of numbers as one matrix, -inf where a list is shorter than the longest, and their lengths.

    Args:
        column: A column of lists.
        parts: Of each list the first part of so many is taken.
    """
    lists = column.combine_chunks()
    if isinstance(lists, pa.ChunkedArray):  # of several chunks that could not be made one
        lists = pa.concat_arrays(lists.chunks)
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    flat = lists.flatten().to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
    counts = lengths // parts
    most = int(counts.max(initial=0))
    if parts == 1 and len(flat) == most * len(counts):
        return flat.reshape(len(counts), most), counts
    starts = np.cumsum(lengths) - lengths
    inside = np.arange(most) < counts[:, None]
    matrix = np.full((len(counts), most), -np.inf)
    matrix[inside] = flat[(starts[:, None] + np.arange(most))[inside]]
    return matrix, counts
