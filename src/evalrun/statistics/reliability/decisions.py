"""Decision accuracy: does the order of recipes at a small size hold at a large one?

After Magnusson et al. 2025, "DataDecide" (arXiv:2504.11393): of all pairs of recipes, the share that the small size
orders as the large one does. A pair that is equal at the small size counts a half, one that is equal at the large size
not at all.

Pairs that share a recipe depend on each other. The jackknife over recipes says how many independent pairs the share is
worth, at least the pairs that can be made without using a recipe twice; Wilson's interval is of so many.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from evalrun.core.text import counted

COLUMNS = ["task", "title", "metric", "size", "target", "recipes", "pairs", "agree", "low", "high", "worth", "note"]
FEWEST = 3  # recipes
_MATCH = 2  # digits of a size that recipes must share

Array = np.ndarray[Any, np.dtype[np.float64]]


def decision_accuracy(rows: pd.DataFrame, size: str, alpha: float) -> pd.DataFrame:
    """The share of pairs of recipes that each size orders as the largest one does, task by task.

    Args:
        rows: Of `Prepared.table`, of several recipes; a recipe is a suite. Seeds, and models of one size, are averaged.
        size: Column of the parameters; sizes are one where their first two digits are.
        alpha: Intervals are of 1 - alpha.

    Returns:
        One row for each task and size below the target, the largest size that three recipes have, with the columns of
        `COLUMNS`: agree, a share, with low and high; worth, how many independent pairs it stands for. NaN where there
        are fewer than three recipes, and the note says so; no row where there is no smaller size.
    """
    sized = rows[rows[size] > 0]
    digits = sized[size].map(lambda count: float(f"{count:.{_MATCH - 1}e}"))
    run = ["suite", "task", "model", "seed"]
    last = sized["step"] == sized.groupby(run, dropna=False)["step"].transform("max")
    ends = sized.assign(_size=digits)[last]
    told = []
    for task, own in ends.groupby("task", sort=False):
        wide = own.pivot_table(index="suite", columns="_size", values="value", aggfunc="mean").sort_index(axis=1)
        first = own.iloc[0]
        there = wide.notna().sum()
        able = [float(str(column)) for column in wide.columns if there[column] >= FEWEST]
        if not able:
            continue
        target = max(able)
        for small in sorted({float(str(column)) for column in wide.columns}):
            if small >= target:
                continue
            both = wide[[small, target]].dropna()
            values = both.to_numpy(dtype="float64")
            place = {"task": task, "title": first["title"], "metric": first["metric"], "size": small, "target": target}
            told.append({**place, "recipes": len(both), **_agreement(values[:, 0], values[:, 1], alpha)})
    return pd.DataFrame(told, columns=COLUMNS)


def _agreement(small: Array, large: Array, alpha: float) -> dict[str, Any]:
    """The share of pairs in one order, its interval, and what the pairs are worth.

    Args:
        small: (recipes,) values at the small size.
        large: (recipes,) at the large one.
        alpha: Level.
    """
    recipes = len(small)
    agree, known = _pairs(small, large)
    pairs = int(np.triu(known, 1).sum())
    if recipes < FEWEST or not pairs:
        return {"pairs": pairs, "note": f"{counted(recipes, 'recipe')}: too few"}
    share = float(np.triu(agree, 1).sum() / pairs)
    without = []
    for one in range(recipes):
        kept = np.arange(recipes) != one
        count = np.triu(known[np.ix_(kept, kept)], 1).sum()
        without.append(np.triu(agree[np.ix_(kept, kept)], 1).sum() / count if count else share)
    variance = (recipes - 1) / recipes * float(((np.array(without) - np.mean(without)) ** 2).sum())
    least = min(pairs, recipes // 2)
    worth = float(np.clip(share * (1 - share) / variance, least, pairs)) if variance > 0 else float(least)
    low, high = proportion_confint(share * worth, worth, alpha, "wilson")
    return {"pairs": pairs, "agree": share, "low": float(low), "high": float(high), "worth": worth, "note": ""}


def _pairs(small: Array, large: Array) -> tuple[Array, Array]:
    """(recipes, recipes) whether a pair is in one order, 1/2 where the small size ties; and whether it counts."""
    orders = np.sign(small[:, None] - small[None, :]) * np.sign(large[:, None] - large[None, :])
    known = (large[:, None] != large[None, :]).astype("float64")
    agree: Array = np.where(known > 0, (orders + 1) / 2, 0.0)
    return agree, known
