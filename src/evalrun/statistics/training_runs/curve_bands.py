"""How many standard errors wide a band is that holds for a whole curve, and for all tasks at once.

A band D +- c SE misses the true difference anywhere, of any task at any point, with probability alpha. c is a quantile
of the largest |t| over points and tasks when there is no difference:

- by items, for a difference between two given runs: each item's deviation is multiplied by a random sign, the same at
  all points, because one item is asked at every checkpoint (a multiplier bootstrap; of clusters the sum of their items'
  deviations). Tasks are drawn for themselves.
- by seeds, where both recipes have enough runs: whole runs change sides in every way that there is (or in random ways),
  which needs no assumption but that runs of one recipe can be exchanged.
- by seeds, where runs are few: from normal values with the variance estimated as it is here, from as few degrees of
  freedom. How alike a seed's neighbouring checkpoints are is not known from two or three runs. So this is done for
  checkpoints that are independent, correlated at 0.5 and 0.9, and for a seed that shifts the whole curve; the widest
  counts. Tasks are taken as independent, which is the widest case too (Sidak 1967, JASA 62:626-633).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from evalrun.statistics.items.clusters import Codes
from evalrun.statistics.items.values import Floats
from evalrun.statistics.training_runs.seed_noise import MOST_DF, steadied

_ALIKE = (0.0, 0.5, 0.9, 1.0)  # correlations of neighbouring checkpoints that are tried
_TAIL = 100  # draws beyond the quantile, at least
_CELLS = 4_000_000  # of draws x items: bounds memory
FEWEST_WAYS = 3.0  # times 1 / alpha: ways to exchange runs from which on these are used


@dataclass(frozen=True)
class LargestT:
    """The distribution of the largest |t| over the points of all tasks when nothing differs."""

    draws: tuple[Floats, ...]  # each sorted: one, or of each assumption that is tried
    tasks: int  # independent ones that the draws are of one of; 1 where they are of all together

    def critical(self, alpha: float) -> float:
        """What the largest |t| exceeds with probability alpha at most."""
        level = (1 - alpha) ** (1 / self.tasks)
        return max(_quantile(one, level) for one in self.draws)

    def p(self, largest: float) -> float:
        """The probability of a |t| as large as this anywhere, in any task."""
        if math.isnan(largest):
            return math.nan
        beyond = max((len(one) - np.searchsorted(one, largest * (1 - 1e-9)) + 1) / (len(one) + 1) for one in self.draws)
        return float(1 - (1 - min(beyond, 1.0)) ** self.tasks)


def _quantile(ordered: Floats, level: float) -> float:
    place = math.ceil(level * (len(ordered) + 1)) - 1
    return math.inf if place >= len(ordered) else float(ordered[place])


def by_few_seeds(
    points: int, tasks: int, df: int, alpha: float, draws: int, seed: int, is_one: bool = False
) -> LargestT:
    """The largest |t| with variances from few runs.

    Args:
        points: Of the curve.
        tasks: How many have curves.
        df: Of the variance at each point.
        alpha: Level that is asked of it: the more tasks, the more draws its tail needs.
        draws: At least.
        seed: Of the draws.
        is_one: The variance of all points is one estimate.
    """
    rng = np.random.default_rng(seed)
    known = min(df, MOST_DF)
    wanted = max(draws, math.ceil(_TAIL * tasks / alpha))
    found = []
    for alike in _ALIKE:
        parts = []
        batch = max(1, _CELLS // (points * (known + 1)))
        for start in range(0, wanted, batch):
            count = min(batch, wanted - start)
            if is_one:
                z = _correlated(rng.standard_normal((count, 1, points)), alike)[:, 0]
                variance = (rng.chisquare(known, (count, 1))) / known
            else:
                values = _correlated(rng.standard_normal((count, known + 1, points)), alike)
                z, variance = values[:, 0], steadied((values[:, 1:] ** 2).mean(axis=1))
            parts.append((np.abs(z) / np.sqrt(variance)).max(axis=1))
        found.append(np.sort(np.concatenate(parts)))
    return LargestT(tuple(found), tasks)


def _correlated(values: Floats, alike: float) -> Floats:
    """Independent values (..., points) made into ones of which neighbours are correlated, of variance 1."""
    for point in range(1, values.shape[-1]):
        values[..., point] = alike * values[..., point - 1] + math.sqrt(1 - alike**2) * values[..., point]
    return values


def ways_of(first: int, second: int) -> int:
    """In how many ways so many runs can be put on two sides."""
    return math.comb(first + second, first)


def by_exchanged_runs(
    runs: int, first: int, largest: Callable[[Sequence[int]], float], draws: int, seed: int
) -> LargestT:
    """The largest |t| over all ways to put runs on two sides, or so many random ones where there are more.

    Args:
        runs: Of both sides together.
        first: Of the first side.
        largest: The statistic, for the places of the runs on the first side.
        draws: Ways, at most.
        seed: Of the draws.
    """
    if math.comb(runs, first) <= draws:
        ways = [list(way) for way in itertools.combinations(range(runs), first)]
        # `critical` and `p` count the way that was observed once more: all of them, less that one.
        found = sorted(largest(way) for way in ways)
        return LargestT((np.array(found[:-1] if len(found) > 1 else found),), 1)
    rng = np.random.default_rng(seed)
    drawn = [rng.permutation(runs)[:first].tolist() for _ in range(draws)]
    return LargestT((np.sort([largest(way) for way in drawn]),), 1)


def item_signs(deviations: Floats, errors: Floats, draws: int, seed: int) -> Floats:
    """(draws,) the largest |t| over the points of one task, under random signs of its items.

    Args:
        deviations: (items or clusters, points) of each from the mean difference, summed over a cluster, by the number
            of items.
        errors: (points,) standard errors; points without any are passed over.
        draws: How many.
        seed: Of the draws.
    """
    known = errors > 0
    if not known.any():
        return np.zeros(draws)
    scaled = deviations[:, known] / errors[known]
    rng, found, batch = np.random.default_rng(seed), [], max(1, _CELLS // len(scaled))
    for start in range(0, draws, batch):
        signs = 2.0 * rng.integers(0, 2, (min(batch, draws - start), len(scaled)), dtype=np.int8) - 1
        found.append(np.abs(signs @ scaled).max(axis=1))
    return np.concatenate(found)


def item_deviations(differences: Floats, codes: Codes | None) -> tuple[Floats, Floats]:
    """Deviations as `item_signs` takes them, and the standard errors of the means that they are from.

    Args:
        differences: (items, points)
        codes: (items,) the cluster of each; None: each its own.

    Returns:
        (items or clusters, points) and (points,). A mean of ones, zeros and minus ones has an error of one item at
        least: that nothing changed on a hundred items does not say that nothing would on others.
    """
    n = len(differences)
    sums = (differences - differences.mean(axis=0)) / n
    if codes is not None:
        grouped = np.zeros((int(codes.max()) + 1, differences.shape[1]))
        np.add.at(grouped, codes, sums)
        sums = grouped
    errors = np.sqrt((sums**2).sum(axis=0) * len(sums) / max(1, len(sums) - 1))
    if np.isin(differences, (-1.0, 0.0, 1.0)).all():
        errors = np.maximum(errors, 1 / n)
    return sums, errors
