"""The age at which a model acquires an item, in tokens, and whether models acquire items in the same order.

An item's age is where its margin, the log-probability of the right choice less that of the best wrong one, comes to be
above zero: where right answers by guess become right answers by knowledge. Of one change between "guessed with
probability g" and "known, but for slips" the probability of each place is computed from all answers up to the item's
first loss (a uniform prior over the places). The interval is the central one of these probabilities: it covers with
1 - alpha, on average over items whose change may be anywhere. Between the two checkpoints of the change the age is
where the margin crosses zero, on a line over log tokens, or their geometric mean where the margin does not.

Chang, Tu & Bergen (2024, TACL 12:1346-1362) call it the age of acquisition, of words, by a sigmoid of surprisal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata

from evalrun.statistics.dynamics.item_classes import CLASSES, UNSTABLE, Courses, States
from evalrun.statistics.dynamics.item_grid import ItemCurve
from evalrun.statistics.items.clusters import Codes
from evalrun.statistics.items.item_errors import reach_of
from evalrun.statistics.items.values import Floats

_FEWEST = 4  # items of a correlation


@dataclass(frozen=True)
class Ages:
    """In tokens; one entry an item."""

    age: Floats  # NaN where the change was not seen: known from the start, never, or unstable
    low: Floats  # 0 where it may have been known before the first checkpoint
    high: Floats  # inf where it may not be known after the last


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's, with its interval."""

    n: int  # items that both acquired
    rho: float
    low: float
    high: float


def acquired(curve: ItemCurve, courses: Courses, model: States, alpha: float) -> Ages:
    """The age of each item, with an interval.

    Args:
        curve: Of `read_grid`.
        courses: Of the same curve.
        model: By which they were found.
        alpha: One minus the level of the intervals.
    """
    steps, items = curve.right.shape
    if steps < 2:
        nothing = np.full(items, np.nan)
        return Ages(nothing, nothing, nothing)
    low, high = _central(curve, courses, model, alpha)
    ends = np.concatenate([[0.0], curve.tokens, [np.inf]])
    stable = courses.codes != CLASSES.index(UNSTABLE)
    seen = stable & (courses.gained > 0)
    place = np.where(seen, courses.gained, 1).astype(np.int64)
    age = np.where(seen, _crossing(curve, place), np.nan)
    return Ages(age, np.where(stable, ends[low], np.nan), np.where(stable, ends[high + 1], np.nan))


def _central(curve: ItemCurve, courses: Courses, model: States, alpha: float) -> tuple[Codes, Codes]:
    """(items,) the first and last checkpoint of the interval, as the first at which an item is known; T: none is."""
    steps, items = curve.right.shape
    unknown, sure = model.likelihoods(curve.right)
    gain = (unknown - sure).astype(np.float64)
    end = np.where(courses.lost >= 0, courses.lost, steps)
    gain[np.arange(steps)[:, None] >= end] = 0  # what came after a loss says nothing of the first change
    likelihood = np.concatenate([np.zeros((1, items)), np.cumsum(gain, axis=0)])  # of a change before each checkpoint
    likelihood[np.arange(steps + 1)[:, None] > end] = -np.inf
    probability = np.exp(likelihood - likelihood.max(axis=0))
    cumulated = np.cumsum(probability, axis=0)
    cumulated /= cumulated[-1]
    low = (cumulated < alpha / 2).sum(axis=0)
    high = (cumulated < 1 - alpha / 2).sum(axis=0)
    return low.astype(np.int64), np.minimum(high, steps).astype(np.int64)


def _crossing(curve: ItemCurve, place: Codes) -> Floats:
    """(items,) tokens between the checkpoints `place - 1` and `place` at which the margin is zero."""
    item = np.arange(curve.right.shape[1])
    before, after = (curve.margin[at, item].astype(np.float64) for at in (place - 1, place))
    start, end = np.log(curve.tokens[place - 1]), np.log(curve.tokens[place])
    crosses = (before < 0) & (after > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(crosses, before / (before - after), 0.5)
    tokens: Floats = np.exp(start + share * (end - start))
    return tokens


def rank_correlation(one: Floats, other: Floats, alpha: float, clusters: Codes | None = None) -> RankCorrelation:
    """Spearman's correlation of two models' ages over the items that both acquired while they were watched.

    The interval is Fisher's with the variance of Bonett & Wright (2000, Psychometrika 65:23-28). Errors of the ages
    make the correlation smaller than that of the true ones. Of clusters it is the wider of that one and of the
    clustered one, by the influences of items on the correlation of ranks.

    Args:
        one: (items,) ages, NaN where an item was not acquired.
        other: The same of the other model.
        alpha: One minus the level of the interval.
        clusters: (items,) which belong together; None for items that were drawn one by one.
    """
    both = np.isfinite(one) & np.isfinite(other)
    n = int(both.sum())
    if n < _FEWEST or np.ptp(one[both]) == 0 or np.ptp(other[both]) == 0:
        return RankCorrelation(n, np.nan, np.nan, np.nan)
    ranks = [rankdata(ages[both]) for ages in (one, other)]
    rho = float(np.corrcoef(*ranks)[0, 1])
    z = np.arctanh(np.clip(rho, -1 + 1e-12, 1 - 1e-12))
    reach = -float(ndtri(alpha / 2)) * np.sqrt((1 + rho**2 / 2) / (n - 3))
    if clusters is not None:
        x, y = ((rank - rank.mean()) / rank.std() for rank in ranks)
        clustered = reach_of(x * y - rho * (x**2 + y**2) / 2, alpha, clusters[both]) / max(1 - rho**2, 1e-12)
        reach = np.maximum(reach, clustered)  # NaN of one cluster
    return RankCorrelation(n, rho, float(np.tanh(z - reach)), float(np.tanh(z + reach)))
