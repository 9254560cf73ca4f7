"""Which of an item's choices is right, as far as its stored result tells."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from evalrun.statistics.items.sums import Floats

Integers = np.ndarray[Any, np.dtype[np.int64]]


def gold_of(items: pd.DataFrame, counts: Integers) -> Floats:
    """The place of each item's right choice, NaN where it is not known."""
    if (counts <= 1).all():  # the target is the text that is scored, and no number
        return np.zeros(len(counts))
    gold: Floats = pd.to_numeric(items["target"], errors="coerce").to_numpy(np.float64)
    if np.isnan(gold).any() and {"prediction", "acc"} <= set(items.columns) and "acc_mutual_info" not in items:
        gold = _unquoted(items, counts, gold)
        # Where the contexts differ instead of the choices (WinoGrande) the target is a text too.
        several = items["target"].str.startswith("[").to_numpy(bool)
        predicted, acc = items["prediction"].to_numpy(np.float64), items["acc"].to_numpy(np.float64)
        told = np.isnan(gold) & ~several & (counts == 2)
        gold = np.where(told, np.where(acc > 0, predicted, 1 - predicted), gold)  # of a tie, either
    return gold


def _unquoted(items: pd.DataFrame, counts: Integers, gold: Floats) -> Floats:
    """Places that stand between quotes, as in lm-eval's samples, which hold every target as text.

    A text between quotes may be a choice that is a number, too: they are places if they say what `acc` says.
    """
    quoted = items["target"].str.fullmatch(r'"\d+"', na=False).to_numpy(bool)
    if not quoted.any():
        return gold
    place = pd.to_numeric(items["target"].str.strip('"').where(quoted), errors="coerce").to_numpy(np.float64)
    hit = items["prediction"].to_numpy(np.float64) == place
    fits = (hit == (items["acc"].to_numpy(np.float64) > 0)) & (place < counts)
    return np.where(quoted, place, gold) if fits[quoted].all() else gold
