"""Probabilities of an item's choices in a byte each, to be shown: fine near one half, and still apart near 0 and 1.

A probability p among an item's choices is kept as its log-odds x, squeezed: 128 + 127 x / (|x| + 2), rounded. Read
back, p is wrong by less than 0.4 percentage points, and the log-odds by some (|x| + 2)^2 / 508 nats: 0.01 at one half,
0.2 at p = .9997. The last choice is what the others leave, and wrong by as much as they together. Numbers in tables and
tests are never read from here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from evalrun.statistics.dynamics.item_sheet import Integers
from evalrun.statistics.items.values import Floats

ShareCodes = np.ndarray[Any, np.dtype[np.uint8]]
MISSING = 0  # no such choice, or no finite log-probability
_MIDDLE, _REACH, _SQUEEZE = 128, 127, 2.0


def share_codes(logprobs: Floats, choices: Integers, gold: Integers) -> ShareCodes | None:
    """The codes of one checkpoint's answers.

    Args:
        logprobs: (items, most choices) nats, -inf where an item has fewer.
        choices: (items,) how many; 0: a free answer.
        gold: (items,) place of the right choice; -1: not one known place.

    Returns:
        (items, most choices - 1): the right choice first, then the wrong ones in their order, without an item's last;
        where the right one is not known, all in their order. None where nothing is chosen among.
    """
    most = logprobs.shape[1]
    if most < 2 or not (choices > 1).any():
        return None
    highest = logprobs.max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        below = logprobs - highest
        share = np.exp(below)
        odds = below - np.log(share.sum(axis=1, keepdims=True) - share)
        ordered = np.take_along_axis(odds, order(gold, most), axis=1)
        codes = _MIDDLE + np.rint(_REACH * np.copysign(1 - _SQUEEZE / (np.abs(ordered) + _SQUEEZE), ordered))
    there = np.isfinite(highest) & (np.arange(most - 1) < choices[:, None] - 1) & ~np.isnan(ordered)
    return np.where(there, codes, MISSING).astype(np.uint8)


def order(gold: Integers, most: int) -> Integers:
    """(items, most choices - 1) which choice stands at each place: the right one, then the others."""
    place = np.arange(most - 1)
    others = np.where(place - 1 < gold[:, None], place - 1, place)
    found: Integers = np.where(gold[:, None] < 0, place, np.where(place == 0, gold[:, None], others))
    return found
