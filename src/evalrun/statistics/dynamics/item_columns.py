"""What items can be divided by: the columns of a task's data, and what follows from an item itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from evalrun.core.errors import AnalysisError, ConfigError, suggest
from evalrun.core.text import counted
from evalrun.statistics.dynamics.distractors import ItemWords
from evalrun.statistics.dynamics.item_grid import ItemGrid
from evalrun.statistics.items.clusters import Codes

DIFFICULTY, GOLD_POSITION, PROMPT_LENGTH = "difficulty", "gold_position", "prompt_length"
OWN = (DIFFICULTY, GOLD_POSITION, PROMPT_LENGTH)  # that need no column of the data
FEWEST = 10  # items of a part
MOST = 24  # parts
_QUARTERS = (0.25, 0.5, 0.75)


def coded(grid: ItemGrid, by: str, words: ItemWords | None) -> tuple[tuple[str, ...], Codes]:
    """Names of the parts, and (items,) the place in them of each item's part; -1: of none.

    A column of numbers with more than `MOST` values, and lengths, are cut into quarters of the items; equal numbers
    stay together.

    Args:
        grid: Of `read_grid`.
        by: A column of the task's data, `prompt_length` (characters) or `gold_position` (the right choice's, from 1); a
            column of the data that is called so goes first.
        words: Texts of the items; needed for all but `gold_position`.

    Raises:
        ConfigError: there is no such column, or it makes fewer than two parts or too many.
        AnalysisError: the items' data cannot be had.
    """
    values = _values(grid, by, words)
    counts = pd.Series(values)[[value != "" for value in values]].value_counts()
    numbers = pd.to_numeric(pd.Series(values, dtype=object).where(lambda each: each != ""), errors="coerce")
    is_number = len(counts) > 0 and int(numbers.notna().sum()) == int(counts.sum())
    if by == PROMPT_LENGTH or (is_number and len(counts) > MOST):
        values, names = _quarters(numbers.to_numpy(np.float64))
        counts = pd.Series(values)[[value != "" for value in values]].value_counts()
        names = [name for name in names if counts.get(name, 0) >= FEWEST]
    else:
        names = [str(name) for name in counts.index[counts >= FEWEST]]
        names.sort(key=float if is_number else None)
    if not 1 < len(names) <= MOST:
        raise ConfigError(
            f"by={by} makes {counted(len(names), 'part')} of {FEWEST} items or more of task '{grid.task}': "
            f"name a column with 2 to {MOST} of them."
        )
    places = {name: place for place, name in enumerate(names)}
    return tuple(names), np.array([places.get(value, -1) for value in values], dtype=np.int64)


def _values(grid: ItemGrid, by: str, words: ItemWords | None) -> Sequence[str]:
    """The value of each item; "" where it has none."""
    if words is not None and not words.why and by in words.columns:
        return [value.strip() for value in words.columns[by]]
    if by == GOLD_POSITION:
        if not (grid.gold >= 0).any():
            raise AnalysisError(f"task '{grid.task}' cannot be divided by '{by}': no right choice has a known place.")
        return [str(place + 1) if place >= 0 else "" for place in grid.gold.tolist()]
    if words is None or words.why:
        why = words.why.rstrip(".").replace("No texts of choices: ", "", 1) if words else "no texts"
        raise AnalysisError(f"task '{grid.task}' cannot be divided by '{by}': {why}.")
    if by == PROMPT_LENGTH and len(words.prompts) == len(grid.keys):
        return [str(len(prompt)) for prompt in words.prompts]
    hint = "give several as a list" if "," in by else suggest(by, [*words.columns, *OWN])
    raise ConfigError(f"task '{grid.task}' has no column '{by}': {hint}")


def _quarters(numbers: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[list[str], list[str]]:
    """The quarter of each number, named by the least and the largest in it, and all names in order."""
    there = np.isfinite(numbers)
    edges = np.quantile(numbers[there], _QUARTERS)
    place = np.searchsorted(edges, numbers, side="left")
    names: dict[int, str] = {}
    for quarter in np.unique(place[there]).tolist():
        own = numbers[there & (place == quarter)]
        low, high = float(own.min()), float(own.max())
        names[quarter] = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    return [names[at] if is_there else "" for at, is_there in zip(place.tolist(), there, strict=True)], [
        *names.values()
    ]
