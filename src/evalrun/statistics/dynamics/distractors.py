"""Of a task that falls: to which answer did the probability go, from the peak to the bottom of the fall?

Probabilities are among an item's choices: the softmax of their log-probabilities. Wrong choices are told apart by where
they stand, by their text and by the column of the data that holds the same text; and the right one by the values of the
columns, which says in which part of the task it lost most. Intervals are over the same items, normal; of items that
share a source (`analysis.cluster_by`) clustered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from evalrun.statistics.dynamics.item_grid import ItemCurve, ItemGrid
from evalrun.statistics.dynamics.item_sheet import Tables, read_sheet
from evalrun.statistics.items.clusters import Codes
from evalrun.statistics.items.item_errors import reach_of
from evalrun.statistics.items.values import Floats

DISTRACTORS = [
    *("model", "seed", "peak_step", "trough_step", "by", "value", "choices", "before", "after", "change"),
    *("low", "high", "taken_before", "taken_after"),
]
RIGHT, POSITION, TEXT, COLUMN, PART = "right choice", "position", "text", "column", "part"
_MOST_VALUES = 24  # of a column that is a breakdown, and texts that are shown of a curve
_FEWEST = 5  # choices of a group


@dataclass(frozen=True)
class ItemWords:
    """The texts of a task's items, or why there are none."""

    choices: tuple[tuple[str, ...], ...]  # of each item
    columns: Mapping[str, tuple[str, ...]]  # column -> value of each item, "" where there is none
    prompts: tuple[str, ...] = ()
    why: str = ""  # why there are none
    choice_bytes: tuple[tuple[int, ...], ...] = ()  # of the texts that are scored, in UTF-8, with their delimiter


Words = Callable[[str, pd.DataFrame], ItemWords]
"""Task and the items' keys (doc_id, doc_hash) -> their texts, in the order of the keys."""


@dataclass(frozen=True)
class _Sides:
    """Probabilities and answers at the two ends of a fall."""

    before: Floats  # (items, choices) probability among the choices; NaN where an item has fewer
    after: Floats
    took_before: Floats  # (items, choices) 1 for the answer that was taken, shared where choices tie
    took_after: Floats
    gold: Floats  # (items, choices) 1 for the right one
    clusters: Codes | None  # (items,) which belong together


def distractors(
    grid: ItemGrid, falls: Sequence[tuple[int, float, float]], tables: Tables, words: ItemWords | None, alpha: float
) -> pd.DataFrame:
    """Where the probability went in each fall.

    Args:
        grid: Of `read_grid`.
        falls: Place of a curve, with the steps of its peak and its trough.
        tables: Gives per-item results.
        words: Texts of the items; None without them.
        alpha: One minus the level of the intervals.

    Returns:
        Rows with the columns of `DISTRACTORS`: by says what `value` is: "right choice"; "position", of wrong choices,
        from 1; "text", of wrong choices; "column", wrong choices whose text a column of the data holds; "part",
        `column=value`, the right choice in that part of the items. choices is how many choices are averaged; before and
        after their mean probability, change the difference with its interval; taken_* the share that was the answer.
        Empty where the choices have no log-probabilities.
    """
    frames = [
        pd.DataFrame(_of_fall(grid, grid.curves[place], (peak, trough), tables, words, alpha), columns=DISTRACTORS)
        for place, peak, trough in falls
    ]
    frames = [frame for frame in frames if len(frame)]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=DISTRACTORS)


def probabilities(grid: ItemGrid, curve: ItemCurve, step: float, tables: Tables) -> tuple[Floats, Floats] | None:
    """Probability of each choice at a step, and the answer that was taken; None without log-probabilities.

    Returns:
        Two arrays, (items, choices) of the grid, NaN where an item has fewer choices.
    """
    sheet = read_sheet(tables, curve.run_ids[curve.at(step)], grid.task, grid.metric)
    if sheet is None or sheet.logprobs is None or not sheet.logprobs.shape[1]:
        return None
    if len(sheet.right) == len(grid.keys) and bool((sheet.keys["doc_id"].to_numpy() == grid.keys["doc_id"]).all()):
        logprobs = sheet.logprobs
    else:
        place = pd.Index(sheet.keys["doc_id"].to_numpy()).get_indexer(pd.Index(grid.keys["doc_id"]))
        logprobs = sheet.logprobs[place]
    there = np.arange(logprobs.shape[1]) < grid.choices[:, None]
    highest = logprobs.max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        share = np.exp(logprobs - highest)
        best = (logprobs == highest).astype(np.float64)
        p, took = share / share.sum(axis=1, keepdims=True), best / best.sum(axis=1, keepdims=True)
    return np.where(there, p, np.nan), np.where(there, took, np.nan)


def _of_fall(
    grid: ItemGrid,
    curve: ItemCurve,
    ends: tuple[float, float],
    tables: Tables,
    words: ItemWords | None,
    alpha: float,
) -> Iterator[dict[str, object]]:
    """The rows of one fall.

    Args:
        grid: The task.
        curve: That falls.
        ends: Steps of peak and trough.
        tables: Gives per-item results.
        words: Texts of the items.
        alpha: Of the intervals.
    """
    found = [probabilities(grid, curve, step, tables) for step in ends]
    if found[0] is None or found[1] is None or not (grid.gold >= 0).any():
        return
    (before, took_before), (after, took_after) = found[0], found[1]
    gold = (np.arange(before.shape[1]) == grid.gold[:, None]).astype(np.float64)
    sides = _Sides(before, after, took_before, took_after, gold, grid.clusters)
    about = {"model": curve.model, "seed": curve.seed, "peak_step": ends[0], "trough_step": ends[1]}
    usable = np.isfinite(before) & np.isfinite(after) & (grid.gold >= 0)[:, None]
    wrong = usable & (gold == 0)
    if not (usable & (gold == 1)).any():
        return
    yield about | {"by": RIGHT, "value": ""} | _moved(sides, usable & (gold == 1), alpha)
    for place in range(before.shape[1]):
        mask = wrong & (np.arange(before.shape[1]) == place)
        if mask.sum() >= min(_FEWEST, len(gold)):
            yield about | {"by": POSITION, "value": str(place + 1)} | _moved(sides, mask, alpha)
    if words is not None and not words.why:
        for by, value, mask in _named(words, wrong, usable & (gold == 1)):
            yield about | {"by": by, "value": value} | _moved(sides, mask, alpha)


def _moved(sides: _Sides, mask: Floats, alpha: float) -> dict[str, object]:
    """Means over some choices, and the change with an interval over the items that have them."""
    change = np.where(mask, sides.after - sides.before, 0.0)
    counts = mask.sum(axis=1)
    n = int(counts.sum())
    mean = float(change.sum()) / n
    influence = (change.sum(axis=1) - mean * counts)[counts > 0]  # of items, of which each may have several
    clusters = None if sides.clusters is None else sides.clusters[counts > 0]
    reach = reach_of(influence, alpha, clusters) * len(influence) / n
    return {
        "choices": n,
        "before": float(sides.before[mask].mean()),
        "after": float(sides.after[mask].mean()),
        "change": mean,
        "low": mean - reach,
        "high": mean + reach,
        "taken_before": float(sides.took_before[mask].mean()),
        "taken_after": float(sides.took_after[mask].mean()),
    }


def _named(words: ItemWords, wrong: Floats, right: Floats) -> Iterator[tuple[str, str, Floats]]:
    """Groups of choices by their text, by the column that holds it, and the right choice by the values of columns."""
    width = wrong.shape[1]
    texts = np.array(
        [[text.strip() for text in own[:width]] + [""] * (width - len(own)) for own in words.choices], object
    )
    counts = pd.Series(texts[wrong]).value_counts()
    for text in counts.index[counts >= _FEWEST][:_MOST_VALUES]:
        yield TEXT, str(text), wrong & (texts == text)
    for name, values in words.columns.items():
        column = np.array([value.strip() for value in values], object)
        held = wrong & (texts == column[:, None]) & (texts != "")
        if held.sum() >= _FEWEST:
            yield COLUMN, name, held
        parts = pd.Series(column).value_counts()
        parts = parts[(parts.index != "") & (parts >= _FEWEST)]
        if 1 < len(parts) <= _MOST_VALUES and parts.sum() >= len(column) / 2:
            for value in sorted(parts.index):
                yield PART, f"{name}={value}", right & (column == value)[:, None]
