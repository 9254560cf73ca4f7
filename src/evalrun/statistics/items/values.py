"""Per-item results of several checkpoints side by side: the same items, in the same order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

Items = Callable[[str, str, Sequence[str]], "pd.DataFrame | None"]
"""MLflow run id, task and wanted columns -> one row an item with those of the columns that there are, or None."""

Floats = np.ndarray[Any, np.dtype[np.float64]]
_KEY = ["doc_id", "doc_hash"]
_PROMPT = "prompt_hash"
_FILTER = "filter"


@dataclass(frozen=True)
class ItemValues:
    """A metric's value on each item of one result."""

    keys: dict[str, pd.Series[Any]]  # doc_id and, where they are there, doc_hash and prompt_hash: (items,) each
    values: Floats  # (items,)

    def average_to(self, value: float) -> bool:
        """Whether the mean over items is the metric's value; it is not for perplexity or F1, say."""
        return bool(np.isclose(self.values.mean(), value, rtol=1e-5, atol=1e-9))


@dataclass(frozen=True)
class Aligned:
    """The items that all of several results have, by doc_id and doc_hash."""

    values: Floats  # (items, results); no items where the results cannot be compared
    note: str  # why there are no items or fewer than there were, or ""
    keys: pd.DataFrame | None = None  # of the same items: doc_id and, where they are there, doc_hash


def columns_of(metric: str) -> list[str]:
    """The columns that `item_values` may need: the metric `exact_match_strict` may be `exact_match`, filtered."""
    words = metric.split("_")
    return [*_KEY, _PROMPT, _FILTER, *("_".join(words[: i + 1]) for i in range(len(words)))]


def item_values(items: pd.DataFrame | None, metric: str) -> ItemValues | None:
    """One metric of a result's items.

    Args:
        items: One row an item and filter, with the columns of evalrun's per-item files (at least those of
            `columns_of` that there are), or None.
        metric: As in the tidy table: a column, followed by `_<filter>` unless the filter is `none`.

    Returns:
        The values; None without items, without such a column, or where it holds no single number an item.
    """
    if items is None or "doc_id" not in items:
        return None
    there = {str(name) for name in items.columns}
    filters = items[_FILTER] if _FILTER in there else pd.Series("none", index=items.index)
    words = metric.split("_")
    for cut in range(len(words), 0, -1):  # the longest name first
        column, named = "_".join(words[:cut]), "_".join(words[cut:]) or "none"
        wanted = (filters == named).to_numpy(dtype=bool)
        if column not in there or not wanted.any():
            continue
        values = pd.to_numeric(items[column], errors="coerce").to_numpy(dtype="float64")
        wanted = wanted & np.isfinite(values)
        if wanted.any():
            keys = {name: items[name] for name in (*_KEY, _PROMPT) if name in there}
            if wanted.all():
                return ItemValues(keys, values)
            return ItemValues({name: key[wanted].reset_index(drop=True) for name, key in keys.items()}, values[wanted])
    return None


def align(results: Sequence[ItemValues]) -> Aligned:
    """Bring two or more results to the same items.

    Results whose prompts differ were not asked the same and are refused, as are those whose doc_id repeats.
    """
    first = results[0].keys
    if all(_equal(first, other.keys) for other in results[1:]) and not first["doc_id"].duplicated().any():
        keys = pd.DataFrame({name: first[name] for name in _KEY if name in first})
        return Aligned(np.column_stack([result.values for result in results]), "", keys)
    return _join(results)


def _equal(first: Mapping[str, pd.Series[Any]], other: Mapping[str, pd.Series[Any]]) -> bool:
    return first.keys() == other.keys() and all(first[name].equals(other[name]) for name in first)


def _join(results: Sequence[ItemValues]) -> Aligned:
    """Values of the items that all results have, by document and filter; none where prompts differ or items repeat."""
    by = [name for name in _KEY if all(name in result.keys for result in results)]
    nothing = np.empty((0, len(results)))
    frames = []
    for i, result in enumerate(results):
        frame = pd.DataFrame({name: result.keys[name] for name in by}).assign(**{f"value {i}": result.values})
        if _PROMPT in result.keys:
            frame[f"prompt {i}"] = result.keys[_PROMPT]
        frames.append(frame.set_index(by))
    if any(frame.index.has_duplicates for frame in frames):
        return Aligned(nothing, "items cannot be told apart: a doc_id repeats")
    joined = pd.concat(frames, axis=1, join="inner")
    if joined.empty:
        return Aligned(nothing, "no item in common")
    prompts = joined.filter(like="prompt ").replace("", np.nan)
    unlike = int((prompts.nunique(axis=1) > 1).sum())
    if unlike:
        return Aligned(nothing, f"scored differently: the prompts of {unlike} of {len(joined)} items differ")
    sizes = sorted({len(frame) for frame in frames})
    common = "1 item" if len(joined) == 1 else f"{len(joined)} items"
    note = f"{common} in common, of {' to '.join(map(str, [*sizes[:1], *sizes[1:][-1:]]))}"
    values = joined[[f"value {i}" for i in range(len(results))]].to_numpy(dtype="float64")
    return Aligned(values, note if len(joined) < sizes[-1] else "", joined.index.to_frame(index=False))
