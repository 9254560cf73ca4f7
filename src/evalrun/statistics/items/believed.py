"""Whether a stored result can be believed: its accuracy against the log-likelihoods of its own items.

Earlier versions, and lm-eval, give an item whose log-likelihoods are NaN to the first choice, and a tie too: a
checkpoint that diverged is then right wherever the right choice stands first. Such results are known by their items.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from evalrun.statistics.items.right_choices import gold_of


@dataclass(frozen=True)
class Doubt:
    """What is wrong with the items of a result, in counts."""

    items: int = 0
    lost: int = 0  # without a finite log-likelihood, and counted as right or wrong all the same
    ties: int = 0  # whose highest log-likelihood several choices share
    first: int = 0  # ties that went to the first of these choices

    @property
    def why(self) -> str:
        """Why the result is not to be used; empty where it can be."""
        if not self.lost:
            return ""
        return (
            f"{self.lost} of its {self.items} items have no finite log-likelihood and were counted all the same, by an "
            "earlier version or lm-eval: score it again with force=true"
        )


def doubt(items: pd.DataFrame) -> Doubt:
    """Look at the items of one result.

    Args:
        items: One row an item, with such of `continuous.COLUMNS` as there are. Of several filters the first counts.
    """
    if "filter" in items and items["filter"].nunique() > 1:
        items = items[items["filter"] == items["filter"].iloc[0]]
    if not {"logprobs", "target", "acc"} <= set(items.columns) or not len(items):
        return Doubt()
    logprobs = items["logprobs"].tolist()
    if "acc_mutual_info" in items:
        logprobs = [one[: len(one) // 2] for one in logprobs]
    counts = np.fromiter(map(len, logprobs), np.int64, len(logprobs))
    acc = pd.to_numeric(items["acc"], errors="coerce").to_numpy(np.float64)
    if not counts.all():
        return Doubt(len(items))
    flat = np.concatenate(logprobs).astype(np.float64)
    starts = np.cumsum(counts) - counts
    sound = flat < np.inf  # False for NaN
    values = np.where(sound, flat, -np.inf)
    largest = np.maximum.reduceat(values, starts)
    highest = (values == np.repeat(largest, counts)).astype(np.float64)
    tied = np.add.reduceat(highest, starts)
    lost = ~np.logical_and.reduceat(sound, starts) | (largest == -np.inf)
    gold = gold_of(items, counts)
    known = (gold >= 0) & (gold < counts)
    place = starts + np.where(known, gold, 0).astype(np.int64)
    expected = np.where(known, highest[place] / tied, np.nan)
    whole = (acc == 0) | (acc == 1)
    other = whole & np.where(known, np.abs(acc - expected) > 1e-9, lost & (tied == counts))
    several = (tied > 1) & ~lost
    return Doubt(len(items), int((lost & other).sum()), int(several.sum()), int((several & other).sum()))
