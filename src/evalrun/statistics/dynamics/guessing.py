"""How many items were learned and lost between checkpoints, when right answers may be guesses and wrong ones slips.

The model: at each checkpoint an item is known or not. One that is known is answered right but for a slip, with the
probability e; one that is not is answered right with the probability g of a guess; guesses and slips are independent
from checkpoint to checkpoint. Then x = (r - g) / (1 - e - g), with r = 1 for right and 0 for wrong, has the expectation
1 for a known item and 0 for another, so that

- learned: the mean of (1 - x) at the earlier times x at the later checkpoint,
- lost: the mean of x at the earlier times (1 - x) at the later one

are unbiased for the shares of items that were learned and lost (method of moments); over a whole curve `lost` is the
mean over all pairs of checkpoints. g may differ between items. e is the share of wrong answers in the known stretches
of the items' courses (`item_classes`), at most `analysis.item_slip`. Intervals are normal ones, from the spread of the
products over items, and hold for every e from 0 to `analysis.item_slip`: they go from the lower end at the largest e to
the upper end at 0 (both estimates fall as e rises). An estimate may be below 0 where the truth is near 0.

Items that share a source (`analysis.cluster_by`) have clustered errors, with t in place of z.

Loss is shown only where two tests agree. The exact one allows no slips: if nothing was lost, an item that is wrong at
the later checkpoint was not known at the earlier one either, so that of m such items Binomial(m, g) were right there.
Over a whole curve the same holds of all answers before an item's last wrong one, because that is a stopping time of the
reversed course. The other is the z test of `lost` with slips as frequent as `analysis.item_slip` allows.

A checkpoint that is right less often than guesses would be prefers wrong answers: at least 1 - accuracy / g of its
items are misled. There g is taken to be so much smaller that nothing is known, where a z test says so with p < .001.

What breaks the assumptions: guesses that stay the same from checkpoint to checkpoint, or that favour a position, make
the estimates of loss too small and the tests conservative, as long as the wrong ones stay too. A model that rules out
some wrong choices guesses better than g, and one that slips more often than allowed seems to lose what it knows. From
which guess, or which share of slips, on nothing would be lost is told: `tipping_guess` and `tipping_slip`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtr
from scipy.stats import binom

from evalrun.statistics.dynamics.item_grid import ItemCurve, Singles
from evalrun.statistics.items.clusters import Codes
from evalrun.statistics.items.item_errors import above_zero, mean_interval
from evalrun.statistics.items.paired import corrected
from evalrun.statistics.items.values import Floats

_LEAST = 0.02  # of 1 - e - g
_CLEARLY = -3.09  # standard errors below guessing: p < .001
NEIGHBOURS, WHOLE, FALL, RETURN = "neighbours", "first to last", "fall", "return"
TRANSITIONS = [
    *("model", "seed", "kind", "from_step", "to_step", "items", "wrong_to_right", "right_to_wrong", "known", "misled"),
    *(
        "learned",
        "learned_low",
        "learned_high",
        "lost",
        "lost_low",
        "lost_high",
        "tipping_guess",
        "tipping_slip",
        "p",
        "q",
    ),
]
LOSSES = [
    *("model", "seed", "items", "slip", "lost", "lost_low", "lost_high", "right_before_wrong", "expected"),
    *("tipping_guess", "p", "q", "lost_items"),
]


@dataclass(frozen=True)
class Pair:
    """Two checkpoints of a curve, and why they are looked at."""

    kind: str
    earlier: int  # places
    later: int
    searched: int = 1  # pairs that these were chosen from by the same answers


@dataclass(frozen=True)
class Chances:
    """How often chance makes an answer right, and wrong."""

    guess: Floats  # (items,) probability of a right answer to an item that is not known
    slip: float = 0.0  # of a wrong one to an item that is known, as estimated
    most: float = 0.0  # the same, as much as the tests allow for
    misled: Floats | None = None  # (checkpoints,) least share of items whose answers are no guesses but wrong; None: 0
    clusters: Codes | None = None  # (items,) which belong together, in errors; None: items were drawn one by one

    def at(self, place: int) -> Floats:
        """(items,) the probability of a right guess at a checkpoint."""
        return self.guess if self.misled is None else self.guess * (1 - self.misled[place])


def least_misled(right: Singles, guess: Floats) -> Floats:
    """(checkpoints,) the least share of items that are answered wrong by preference; 0 where guesses are no better."""
    there = np.isfinite(right)
    n = np.maximum(there.sum(axis=1), 1)
    accuracy = np.where(there, right, 0).sum(axis=1, dtype=np.float64) / n
    mean = np.where(there, guess, 0).sum(axis=1) / n
    error = np.sqrt(np.maximum(np.where(there, guess * (1 - guess), 0).sum(axis=1), 1e-12)) / n
    below = (mean > 0) & (accuracy - mean < _CLEARLY * error)
    return np.where(below, 1 - accuracy / np.where(mean > 0, mean, 1), 0.0)


def known(right: Floats | Singles, guess: Floats, slip: float = 0.0) -> Floats:
    """(r - g) / (1 - e - g): 1 in expectation for an item that is known, 0 for one that is guessed."""
    certain: Floats = (np.asarray(right, dtype=np.float64) - guess) / np.maximum(1 - slip - guess, _LEAST)
    return certain


def transitions(curve: ItemCurve, chances: Chances, pairs: list[Pair], alpha: float, correction: str) -> pd.DataFrame:
    """Learned and lost items between pairs of checkpoints of one curve.

    Args:
        curve: Of `read_grid`.
        chances: Of guesses and slips.
        pairs: Which checkpoints.
        alpha: One minus the confidence level of the intervals.
        correction: Of p over the pairs of a kind, by statsmodels' name.

    Returns:
        One row a pair with the columns of `TRANSITIONS`: counts of answers that changed (a tie counts as its share);
        known, the share of items that are known at the earlier checkpoint, and misled, the least share that is answered
        wrong by preference at the later one; learned and lost, shares of items corrected for guessing, with intervals;
        tipping_guess, the probability of a right guess, and tipping_slip, that of answering a known item wrong by
        accident, at which nothing would be lost; p of the tests that nothing was lost, the larger, times the pairs that
        were searched.
    """
    rows = [{"model": curve.model, "seed": curve.seed, **_between(curve, chances, pair, alpha)} for pair in pairs]
    frame = pd.DataFrame(rows, columns=TRANSITIONS)
    for kind in frame["kind"].unique():
        own = frame["kind"] == kind
        frame.loc[own, "q"] = corrected(frame.loc[own, "p"].to_numpy(np.float64), correction)
    return frame


def neighbours(curve: ItemCurve) -> Iterator[Pair]:
    """Each checkpoint and the next, and the first and the last where there are more than two."""
    last = len(curve.steps) - 1
    yield from (Pair(NEIGHBOURS, place, place + 1) for place in range(last))
    if last > 1:
        yield Pair(WHOLE, 0, last)


def _between(curve: ItemCurve, chances: Chances, pair: Pair, alpha: float) -> dict[str, object]:
    """One row of `transitions`, without the curve's name and q."""
    before, after = (curve.right[place].astype(np.float64) for place in (pair.earlier, pair.later))
    both = np.isfinite(before) & np.isfinite(after)
    before, after = before[both], after[both]
    g, h = (chances.at(place)[both] for place in (pair.earlier, pair.later))
    clusters = None if chances.clusters is None else chances.clusters[both]
    found: dict[str, object] = {
        "kind": pair.kind,
        "from_step": curve.steps[pair.earlier],
        "to_step": curve.steps[pair.later],
        "items": len(before),
    }
    if not len(before):
        return found
    gained, fell = (1 - before) * after, before * (1 - after)
    wrong = float((1 - after).sum())
    lost, net = (float(((before - g) * each / (1 - g) / (1 - h)).sum()) for each in (1 - after, 1))
    slips = (chances.slip, chances.most, 0.0)
    pairs = [(known(before, g, slip), known(after, h, slip)) for slip in slips]
    lost_each = [x * (1 - y) for x, y in pairs]
    for name, each in (("learned", [(1 - x) * y for x, y in pairs]), ("lost", lost_each)):
        found |= dict(zip((name, f"{name}_low", f"{name}_high"), _bounds(each, alpha, clusters), strict=True))
    p = max(exact_loss(fell, 1 - after, chances.guess[both]), above_zero(lost_each[1], clusters))
    return found | {
        "known": float(pairs[0][0].mean()),
        "misled": 0.0 if chances.misled is None else float(chances.misled[pair.later]),
        "wrong_to_right": float(gained.sum()),
        "right_to_wrong": float(fell.sum()),
        "tipping_guess": float(fell.sum()) / wrong if wrong else np.nan,
        "tipping_slip": min(max(0.0, lost / net), 1.0) if net > 0 else np.nan,
        "p": min(1.0, p * pair.searched),
    }


def _bounds(each: list[Floats], alpha: float, clusters: Codes | None) -> tuple[float, float, float]:
    """The mean of the first, the lower end of the second's interval, the upper end of the third's."""
    ends = [mean_interval(one, alpha, clusters) for one in each]
    return ends[0][0], min(end[1] for end in ends), max(end[2] for end in ends)


def exact_loss(right: Floats, asked: Floats, guess: Floats) -> float:
    """P(as many right guesses, or more): the one-sided p-value of a sum of guesses.

    Args:
        right: (items,) how often each was right; a tie counts as its share.
        asked: (items,) of how many guesses.
        guess: (items,) the probability of each.

    Returns:
        p, exact where all items have one g (rounded so that ties make it larger), and by convolution of the exact
        distributions where they have a few.
    """
    if not asked.sum():
        return 1.0
    rates, which = np.unique(np.round(guess, 9), return_inverse=True)
    sizes = np.ceil(np.bincount(which, weights=asked) - 1e-9).astype(int)
    total = int(np.floor(right.sum() + 1e-9))
    if len(rates) == 1:
        return float(binom.sf(total - 1, sizes[0], rates[0]))
    if len(rates) > 8 or sizes.sum() > 200_000:  # many unlike guesses: their sum is normal
        mean, variance = float((sizes * rates).sum()), float((sizes * rates * (1 - rates)).sum())
        return float(ndtr((mean - total + 0.5) / np.sqrt(variance))) if variance > 0 else float(total <= mean)
    mass = np.ones(1)
    for size, rate in zip(sizes, rates, strict=True):
        mass = np.convolve(mass, binom.pmf(np.arange(size + 1), size, rate))
    return float(min(1.0, mass[total:].sum()))


def whole_curve(curve: ItemCurve, chances: Chances, alpha: float) -> dict[str, object]:
    """Was anything lost over a curve.

    Args:
        curve: Of `read_grid`.
        chances: Of guesses and slips.
        alpha: One minus the confidence level of the interval.

    Returns:
        A row of `LOSSES` without q and lost_items: lost, the share of items that are known at the earlier and not at
        the later checkpoint, on average over all pairs, with its interval; how many right answers stand before a last
        wrong one, how many guesses alone would put there, and the guess at which they would be as many; p, the larger
        one of the exact test and of the z test with slips.
    """
    right, asked = _before_last_wrong(curve)
    expected = float((asked * chances.guess).sum())
    each = [_over_pairs(curve, chances, slip) for slip in (chances.slip, chances.most, 0.0)]
    lost, low, high = _bounds(each, alpha, chances.clusters)
    p = max(exact_loss(right, asked, chances.guess), above_zero(each[1], chances.clusters))
    return {
        "model": curve.model,
        "seed": curve.seed,
        "items": curve.right.shape[1],
        "slip": chances.slip,
        "lost": lost,
        "lost_low": low,
        "lost_high": high,
        "right_before_wrong": float(right.sum()),
        "expected": expected,
        "tipping_guess": float(right.sum() / asked.sum()) if asked.sum() else np.nan,
        "p": p if len(curve.steps) > 1 else np.nan,
    }


def _before_last_wrong(curve: ItemCurve) -> tuple[Floats, Floats]:
    """(items,) right answers before an item's last wrong one, and all answers there."""
    wrong = curve.right == 0
    steps = len(curve.steps)
    last = np.where(wrong.any(axis=0), steps - 1 - wrong[::-1].argmax(axis=0), 0)
    before = (np.arange(steps)[:, None] < last) & np.isfinite(curve.right)
    right: Floats = np.where(before, curve.right, 0).sum(axis=0, dtype=np.float64)
    return right, before.sum(axis=0).astype(np.float64)


def _over_pairs(curve: ItemCurve, chances: Chances, slip: float) -> Floats:
    """(items,) x at the earlier times 1 - x at the later checkpoint, the mean over all pairs of an item's answers."""
    items = curve.right.shape[1]
    earlier, count = np.zeros((2, items))
    total, pairs = np.zeros((2, items))
    for place, right in enumerate(curve.right):
        seen = np.isfinite(right)
        answer = np.where(seen, known(np.nan_to_num(right), chances.at(place), slip), 0)
        total += np.where(seen, (1 - answer) * earlier, 0)
        pairs += np.where(seen, count, 0)
        earlier, count = earlier + answer, count + seen
    mean: Floats = total / np.maximum(pairs, 1)
    return mean
