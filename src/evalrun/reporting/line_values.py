"""A task's lines as arrays: the values of each at each place of the axis across."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

Array = np.ndarray[tuple[int], np.dtype[np.float64]]
Codes = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True)
class LineValues:
    """One line, in order of the axis."""

    x: Array
    value: Array  # means, where a place has several
    error: Array  # standard errors, NaN where there is none
    seeds: list[tuple[Array, Array]]  # of several training runs each one's x and values


@dataclass(frozen=True)
class Grouped:
    """Rows put together by two keys: sorted by both, and where each group begins."""

    order: Codes
    begin: Codes

    def mean(self, values: Array) -> Array:
        """Of each group, of what is known; NaN where nothing is."""
        values = values[self.order]
        known = np.isfinite(values)
        count = np.add.reduceat(known.astype("float64"), self.begin)
        total = np.add.reduceat(np.where(known, values, 0.0), self.begin)
        means: Array = np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
        return means

    def first(self, values: Any) -> Any:
        """Of each group."""
        return values[self.order][self.begin]

    def is_one(self, codes: Codes) -> Any:
        """Whether a group's codes are all the same."""
        codes = codes[self.order]
        return np.minimum.reduceat(codes, self.begin) == np.maximum.reduceat(codes, self.begin)


def grouped(first: Any, second: Any) -> Grouped:
    """Groups of rows with the same two keys, in order of the first, then the second; there are rows."""
    order = np.lexsort((second, first))
    first, second = first[order], second[order]
    is_new = np.ones(len(order), dtype=bool)
    is_new[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    return Grouped(order, np.flatnonzero(is_new))


def floats(rows: pd.DataFrame, name: str) -> Array:
    """A column as numbers."""
    found: Array = rows[name].to_numpy(dtype="float64", na_value=np.nan)
    return found


def line_values(rows: pd.DataFrame, x: str, by: str) -> dict[Hashable, LineValues]:
    """The lines of a task by their key, which is a value of `by`.

    Args:
        rows: The task's, with positive values of `x`.
        x: Column of the axis across.
        by: Column whose values are lines: model, or step.
    """
    if rows.empty:
        return {}
    codes, keys = pd.factorize(rows[by])
    across, value, error = (floats(rows, name) for name in (x, "value", "stderr"))
    seed = pd.factorize(rows["seed"], use_na_sentinel=False)[0]
    groups = grouped(codes, across)
    owner, place = groups.first(codes), groups.first(across)
    means, errors = groups.mean(value), groups.mean(error)
    found: dict[Hashable, LineValues] = {}
    ends = np.searchsorted(owner, np.arange(len(keys) + 1))
    for code, key in enumerate(keys):
        own = slice(ends[code], ends[code + 1])
        seeds = []
        mine = np.flatnonzero(codes == code) if len(keys) > 1 else np.arange(len(codes))
        if (seed[mine] != seed[mine[0]]).any():
            for one in np.unique(seed[mine]):
                rows_of = mine[seed[mine] == one]
                rows_of = rows_of[np.argsort(across[rows_of], kind="stable")]
                seeds.append((across[rows_of], value[rows_of]))
        found[key] = LineValues(place[own], means[own], errors[own], seeds)
    return found
