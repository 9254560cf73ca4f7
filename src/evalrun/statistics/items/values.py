"""Per-item results of several checkpoints side by side: the same items, in the same order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from evalrun.core.ratios import RATIOS, Ratio, ratio_of
from evalrun.statistics.items.continuous import COLUMNS as CHOICES
from evalrun.statistics.items.continuous import METRICS, of_items
from evalrun.statistics.items.sums import Sums

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
    values: Floats  # (items,) of a ratio `Sums.linear`
    sums: Sums | None = None  # of a metric that is a ratio of sums

    def average_to(self, value: float) -> bool:
        """Whether the mean over items is the metric's value; it is not for F1, say."""
        return bool(np.isclose(self.values.mean(), value, rtol=1e-5, atol=1e-9))


@dataclass(frozen=True)
class Aligned:
    """The items that all of several results have, by doc_id and doc_hash."""

    values: Floats  # (items, results); no items where the results cannot be compared
    note: str  # why there are no items or fewer than there were, or ""
    keys: pd.DataFrame | None = None  # of the same items: doc_id and, where they are there, doc_hash
    weights: Floats | None = None  # (items,) of ratios: denominators, such as bytes; None: all count alike
    own: Floats | None = None  # (items, results) of ratios: of each item alone

    @property
    def each(self) -> Floats:
        """(items, results) the metric of each item alone."""
        return self.values if self.own is None else self.own


def columns_of(metric: str) -> list[str]:
    """The columns that `item_values` may need: the metric `exact_match_strict` may be `exact_match`, filtered."""
    words, ratio = metric.split("_"), ratio_of(metric)
    sums = () if ratio is None else (ratio.numerator, ratio.denominator)
    choices = CHOICES if metric in METRICS else ()
    named = ("_".join(words[: i + 1]) for i in range(len(words)))
    return list(dict.fromkeys([*_KEY, _PROMPT, _FILTER, *named, *sums, *choices]))


def item_values(items: pd.DataFrame | None, metric: str) -> ItemValues | None:
    """One metric of a result's items.

    Args:
        items: One row an item and filter, with the columns of evalrun's per-item files (at least those of
            `columns_of` that there are), or None.
        metric: As in the tidy table: a column, followed by `_<filter>` unless the filter is `none`. Of a ratio of
            sums, such as bits per byte, the two columns that are summed; or one that holds both, as lm-eval's do. Else
            a metric of `continuous.METRICS`.

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
        if not wanted.any():
            continue
        ratio = RATIOS.get(column)
        if ratio is not None:
            sums = _sums(items, column, ratio)
            if sums is None:
                continue
            wanted = wanted & np.isfinite(sums.numerator) & np.isfinite(sums.denominator) & (sums.denominator > 0)
            if wanted.any():
                own = sums.of_items(wanted)
                return ItemValues(_keys(items, wanted), own.linear, own)
            continue
        if column not in there:
            continue
        values = pd.to_numeric(items[column], errors="coerce").to_numpy(dtype="float64")
        wanted = wanted & np.isfinite(values)
        if wanted.any():
            return ItemValues(_keys(items, wanted), values if wanted.all() else values[wanted])
    return _of_choices(items, metric) if metric in METRICS else None


def _of_choices(items: pd.DataFrame, metric: str) -> ItemValues | None:
    """A metric of `continuous.METRICS`, from the log-probabilities of the choices; None where they allow none."""
    found = of_items(items)
    if metric not in found.values:
        return None
    keys = {name: items[name].loc[found.rows].reset_index(drop=True) for name in (*_KEY, _PROMPT) if name in items}
    value = found.values[metric]
    return ItemValues(keys, value.linear, value) if isinstance(value, Sums) else ItemValues(keys, value)


def _keys(items: pd.DataFrame, wanted: np.ndarray[Any, np.dtype[np.bool_]]) -> dict[str, pd.Series[Any]]:
    keys = {name: items[name] for name in (*_KEY, _PROMPT) if name in items}
    return keys if wanted.all() else {name: key[wanted].reset_index(drop=True) for name, key in keys.items()}


def _sums(items: pd.DataFrame, column: str, ratio: Ratio) -> Sums | None:
    """The sums of a ratio by its two columns, or by lm-eval's own: `[log-likelihood, count]` as text."""
    if {ratio.numerator, ratio.denominator} <= set(items.columns):
        above, below = (items[name].to_numpy(dtype="float64") for name in (ratio.numerator, ratio.denominator))
        return Sums(ratio, above, below)
    if column not in items or pd.api.types.is_numeric_dtype(items[column]):
        return None
    pairs = items[column].astype(str).str.extract(r"^\[(?P<log>[^,\]]+), *(?P<count>[^,\]]+)\]$")
    log, count = (pd.to_numeric(pairs[name], errors="coerce").to_numpy(dtype="float64") for name in ("log", "count"))
    return Sums(ratio, -log, count)


def align(results: Sequence[ItemValues]) -> Aligned:
    """Bring two or more results to the same items.

    Results whose prompts differ were not asked the same and are refused, as are those whose doc_id repeats.
    """
    first = results[0].keys
    if all(_equal(first, other.keys) for other in results[1:]) and not first["doc_id"].duplicated().any():
        keys = pd.DataFrame({name: first[name] for name in _KEY if name in first})
        return _side_by_side(results, [slice(None)] * len(results), "", keys)
    return _join(results)


def _side_by_side(results: Sequence[ItemValues], places: Sequence[Any], note: str, keys: pd.DataFrame) -> Aligned:
    """Results on the same items; the ratio of sums is taken anew over these.

    Args:
        results: With the items in any order.
        places: Of each result, where the items of `keys` are in it.
        note: Of items that are left out.
        keys: (items,)
    """
    sums = [one.sums.of_items(at) for one, at in zip(results, places, strict=True) if one.sums is not None]
    if len(sums) < len(results):
        return Aligned(np.column_stack([one.values[at] for one, at in zip(results, places, strict=True)]), note, keys)
    weights = np.mean([one.denominator / one.denominator.mean() for one in sums], axis=0)
    linear, each = (np.column_stack(columns) for columns in zip(*((one.linear, one.each) for one in sums), strict=True))
    return Aligned(linear, note, keys, weights, each)


def _equal(first: Mapping[str, pd.Series[Any]], other: Mapping[str, pd.Series[Any]]) -> bool:
    return first.keys() == other.keys() and all(first[name].equals(other[name]) for name in first)


def _join(results: Sequence[ItemValues]) -> Aligned:
    """The items that all results have, by document and filter; none where prompts differ or items repeat."""
    by = [name for name in _KEY if all(name in result.keys for result in results)]
    nothing = np.empty((0, len(results)))
    frames = []
    for i, result in enumerate(results):
        frame = pd.DataFrame({name: result.keys[name] for name in by})
        frame[f"place {i}"] = np.arange(len(frame))
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
    places = [joined[f"place {i}"].to_numpy(dtype=np.int64) for i in range(len(results))]
    return _side_by_side(results, places, note if len(joined) < sizes[-1] else "", joined.index.to_frame(index=False))
