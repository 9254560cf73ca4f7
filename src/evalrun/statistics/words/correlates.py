"""How the log-probability of words goes with what is known of words: frequency, n-grams, length; at one checkpoint.

Correlations (Pearson's and Spearman's) with each predictor and the share of variance that a linear regression on all of
them explains, as Michaelov, Levy & Bergen (2025, arXiv:2510.24963) follow them over training. Words of one text are not
drawn one by one, so that intervals are clustered by text: from the influence of each word on the number (its effect to
first order, ranks included), added up text by text, t with as many degrees of freedom as texts less one, on Fisher's
scale. Fisher's own intervals, of words drawn one by one, stand beside them; Spearman's have the variance of Bonett &
Wright (2000, Psychometrika 65:23-28).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri, stdtrit

from evalrun.statistics.items.clusters import Codes
from evalrun.statistics.items.values import Floats

PEARSON, SPEARMAN, R2, COEFFICIENT = "pearson", "spearman", "r2", "coefficient"
ALL = "all"  # predictors together
FEWEST = 10  # words of a number
_Mask = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Estimate:
    """One number about one checkpoint, with two intervals."""

    predictor: str
    measure: str
    value: float
    stderr: float  # clustered by text
    low: float
    high: float
    fisher_low: float  # of words drawn one by one; NaN of coefficients
    fisher_high: float
    n: int  # words


class Predictors:
    """What is known of words, prepared once for all checkpoints."""

    def __init__(self, values: Mapping[str, Floats], documents: Codes, usable: _Mask) -> None:
        """Look at each predictor.

        Args:
            values: Name -> (words,) numbers, NaN where it says nothing of a word.
            documents: (words,) the text of each word.
            usable: (words,) which words count: whole ones that have a text.
        """
        self.names = tuple(values)
        self._each = []
        for name, numbers in values.items():
            there = np.flatnonzero(usable & np.isfinite(numbers))
            own = numbers[there]
            if len(there) >= FEWEST and np.ptp(own) > 0:
                texts = np.unique(documents[there], return_inverse=True)[1]
                self._each.append((name, there, own, _Ranked.of(own), texts))
        complete = usable & np.all([np.isfinite(numbers) for numbers in values.values()] or [usable], axis=0)
        self._complete = np.flatnonzero(complete)
        self._texts = np.unique(documents[self._complete], return_inverse=True)[1]
        columns = [values[name][self._complete] for name in self.names]
        self._design = np.column_stack([_standard(column) for column in columns]) if columns else np.empty((0, 0))

    def estimates(self, logprobs: Floats, alpha: float) -> Iterator[Estimate]:
        """All numbers of one checkpoint.

        Args:
            logprobs: (words,) of each word, in nats.
            alpha: One minus the level of intervals.
        """
        for name, there, numbers, ranked, texts in self._each:
            own = logprobs[there]
            if np.ptp(own) > 0:
                yield _estimate(name, PEARSON, *_pearson(own, numbers), texts, alpha, 1.0)
                r, influence = _Ranked.of(own).correlation(ranked)
                yield _estimate(name, SPEARMAN, r, influence, texts, alpha, 1 + r**2 / 2)
        if len(self._each) == len(self.names) > 0:
            yield from self._regression(logprobs[self._complete], alpha)

    def _regression(self, own: Floats, alpha: float) -> Iterator[Estimate]:
        """R2 of all predictors together, and the coefficient of each, in standard deviations."""
        n, predictors = self._design.shape
        if n < FEWEST + predictors or not np.ptp(own) > 0 or np.linalg.matrix_rank(self._design) < predictors:
            return
        y = _standard(own)
        inverse = np.linalg.inv(self._design.T @ self._design)
        slopes = inverse @ (self._design.T @ y)
        residual = y - self._design @ slopes
        r2 = 1 - float(residual @ residual) / n
        influence = (1 - r2) * y**2 - residual**2
        yield _r2_estimate(r2, influence, self._texts, alpha, predictors)
        for place, name in enumerate(self.names):
            each = n * residual * (self._design @ inverse[place])
            error, df = clustered_error(each, self._texts)
            reach, slope = _t(df, alpha) * error, float(slopes[place])
            yield Estimate(name, COEFFICIENT, slope, error, slope - reach, slope + reach, np.nan, np.nan, n)


def correlated(x: Floats, y: Floats) -> tuple[tuple[float, float], tuple[float, float]]:
    """Pearson's and Spearman's correlation of items drawn one by one, each with its standard error.

    Args:
        x: (items,) not all the same.
        y: The same of another number.
    """
    alone = np.arange(len(x))
    both = _pearson(x, y), _Ranked.of(x).correlation(_Ranked.of(y))
    pearson, spearman = ((r, clustered_error(influence, alone)[0]) for r, influence in both)
    return pearson, spearman


@dataclass(frozen=True)
class _Ranked:
    """Values by their order; ties share the middle of their places."""

    code: Codes  # (words,) place among the distinct values
    share: Floats  # (words,) of the values that are below; half of the ties count
    square: Floats  # (words,) each word's influence on the mean square of the shares

    @classmethod
    def of(cls, values: Floats) -> _Ranked:
        _, code, count = np.unique(values, return_inverse=True, return_counts=True)
        share = ((np.cumsum(count) - count / 2) / len(values))[code]
        square = share**2 + 2 * _above(code, share)
        return cls(code, share, square - square.mean())

    def correlation(self, other: _Ranked) -> tuple[float, Floats]:
        """Spearman's correlation, and the influence of each word on it, in which its effect on all ranks is."""
        own, its = self.share - 0.5, other.share - 0.5
        variance, its_variance = float(own @ own) / len(own), float(its @ its) / len(own)
        scale = np.sqrt(variance * its_variance)
        rho = float(own @ its) / len(own) / scale
        product = self.share * other.share + _above(self.code, other.share) + _above(other.code, self.share)
        influence = (product - product.mean()) / scale
        influence -= rho / 2 * (self.square / variance + other.square / its_variance)
        return rho, influence


def _above(code: Codes, weight: Floats) -> Floats:
    """(words,) the mean over all words of `weight` times whether their value is above each word's; half where equal."""
    total = np.bincount(code, weight)
    above = np.cumsum(total[::-1])[::-1] - total / 2
    found: Floats = (above / len(code))[code]
    return found


def _pearson(x: Floats, y: Floats) -> tuple[float, Floats]:
    x, y = _standard(x), _standard(y)
    r = float(x @ y) / len(x)
    return r, x * y - r / 2 * (x**2 + y**2)


def _standard(values: Floats) -> Floats:
    spread = values.std()
    found: Floats = (values - values.mean()) / (spread if spread > 0 else 1.0)
    return found


def clustered_error(influence: Floats, texts: Codes) -> tuple[float, int]:
    """Standard error of what words add up to by their influences, clustered by text, and its degrees of freedom.

    Args:
        influence: (words,) whose mean over words is 0.
        texts: (words,) 0, 1, ...

    Returns:
        NaN of one text.
    """
    sums = np.bincount(texts, influence)
    count = len(sums)
    if count < 2:
        return np.nan, 0
    return float(np.sqrt(count / (count - 1) * (sums @ sums)) / len(influence)), count - 1


def _t(df: int, alpha: float) -> float:
    return -float(stdtrit(df, alpha / 2)) if df > 0 else np.nan


def _estimate(
    name: str, measure: str, r: float, influence: Floats, texts: Codes, alpha: float, spread: float
) -> Estimate:
    """A correlation with its intervals.

    Args:
        name: Of the predictor.
        measure: Which correlation.
        r: Its value.
        influence: (words,) of each word on it.
        texts: (words,)
        alpha: One minus the level.
        spread: Variance on Fisher's scale times n - 3, of words drawn one by one.
    """
    error, df = clustered_error(influence, texts)
    r = float(np.clip(r, -1, 1))
    z, slope = np.arctanh(np.clip(r, -1 + 1e-12, 1 - 1e-12)), max(1 - r**2, 1e-12)
    reach = _t(df, alpha) * error / slope
    plain = -float(ndtri(alpha / 2)) * np.sqrt(spread / (len(texts) - 3))
    low, high, plain_low, plain_high = (float(np.tanh(z + way)) for way in (-reach, reach, -plain, plain))
    return Estimate(name, measure, r, error, low, high, plain_low, plain_high, len(texts))


def _r2_estimate(r2: float, influence: Floats, texts: Codes, alpha: float, predictors: int) -> Estimate:
    """R2 with its intervals, on Fisher's scale of its root; the plain one has the variance of Olkin & Finn (1995).

    Args:
        r2: Its value.
        influence: (words,) of each word on it.
        texts: (words,)
        alpha: One minus the level.
        predictors: How many.
    """
    error, df = clustered_error(influence, texts)
    root = float(np.sqrt(np.clip(r2, 1e-12, 1 - 1e-12)))
    z = np.arctanh(root)
    reach = _t(df, alpha) * error / (2 * root * (1 - root**2))
    plain = -float(ndtri(alpha / 2)) / np.sqrt(len(texts) - 1 - predictors)
    ways = (-reach, reach, -plain, plain)
    low, high, plain_low, plain_high = (float(np.tanh(np.maximum(z + way, 0.0)) ** 2) for way in ways)
    return Estimate(ALL, R2, max(r2, 0.0), error, low, high, plain_low, plain_high, len(texts))
