"""What a study could show: the smallest differences and slopes that its tests detect with a given power.

Plain arithmetic on numbers of items and checkpoints, for the planning of a sweep and for its report alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

AGREEMENTS = (0.95, 0.9, 0.8, 0.7)  # shares of items that two checkpoints answer alike: near ones, far ones
DISCORDANT = 0.2  # share of items on which two checkpoints differ, where nothing better is known
POWER = 0.8
_HARMONIC = ("fdr_by", "fdr_n", "n")
_FDR = ("fdr_bh", "fdr_i", "fdr_p", "fdri", "fdrp", *_HARMONIC)


def level_of(alpha: float, tests: int, found: int, correction: str) -> float:
    """What a p must not exceed for its q to be at most alpha, where `found` of so many tests are significant.

    For the false discovery rate alpha found / tests (Benjamini & Hochberg 1995), divided by the harmonic sum of the
    tests where dependence of any kind is allowed for (Benjamini & Yekutieli 2001); by any other correction at least
    alpha / tests (Bonferroni).

    Args:
        alpha: Level of q.
        tests: In all.
        found: How many of them are significant, at least 1.
        correction: Its name in statsmodels.
    """
    level = alpha * (found if correction in _FDR else 1) / tests
    return level / sum(1 / k for k in range(1, tests + 1)) if correction in _HARMONIC else level


def smallest_fall(n: int, alpha: float, agreement: float, power: float = POWER) -> float:
    """The smallest fall of accuracy that McNemar's exact test on n shared items finds, at a stated agreement.

    Args:
        n: Items.
        alpha: Two-sided level, corrected for whatever is corrected for.
        agreement: Share of the items that both checkpoints answer alike (right or wrong), in (0, 1).
        power: In (0.5, 1).

    Returns:
        A difference of accuracies, at most 1 - agreement; NaN where even that would not be found.

    Source: as `smallest_difference`.
    """
    found = smallest_difference(n, alpha, 1 - agreement, power)
    return found if found <= 1 - agreement + 1e-12 else math.nan


def smallest_difference(n: int, alpha: float, discordant: float = DISCORDANT, power: float = POWER) -> float:
    """The smallest difference of accuracy between two checkpoints that McNemar's exact test on n shared items detects.

    With q the share of items that only one of the two gets right, a difference d between their accuracies is detected
    with the given power when n d - 1 = sqrt(n) (z_(1 - alpha/2) sqrt(q) + z_power sqrt(q - d^2)): Connor 1987
    (Biometrics 43:207-211), equation 1, with the correction for continuity of Edwards 1948 (Psychometrika 13:185-187),
    which brings it to the exact test. A difference cannot exceed q: where q is too small to show any, the answer is the
    smallest that shows when all differing items differ one way, q = d.

    Args:
        n: Items.
        alpha: Two-sided level; divide it by the number of tests to correct for them as Bonferroni does.
        discordant: q, in (0, 1].
        power: In (0.5, 1).

    Returns:
        A difference of accuracies in (0, 1], or NaN where not even 1 would show.
    """
    if n < 1:
        return math.nan
    normal = NormalDist()
    a, b = normal.inv_cdf(1 - alpha / 2), normal.inv_cdf(power)

    def short_of(d: float, q: float) -> float:
        return math.sqrt(n) * (a * math.sqrt(q) + b * math.sqrt(max(q - d * d, 0.0))) - (n * d - 1)

    if short_of(discordant, discordant) <= 0:
        return _root(lambda d: short_of(d, discordant), 0.0, discordant)
    if short_of(1.0, 1.0) > 0:
        return math.nan
    return _root(lambda d: short_of(d, d), discordant, 1.0)


def smallest_shown(n: int, level: float, discordant: float, margin: float, power: float = POWER) -> float:
    """The smallest fall of accuracy that is shown to exceed a margin, by the score test on n shared items.

    A fall f shows with the given power when n (f - margin) - 1 = z_(1 - level) s(margin) + z_power s(f), where s is the
    standard deviation of the net number of items that fell: under a fall of the margin as the test has it, and under f.
    Items that only one of the two gets right are n q, or n f where that is more.

    Args:
        n: Items.
        level: One-sided, corrected for whatever is corrected for.
        discordant: q, in (0, 1].
        margin: Of accuracy, in [0, 1).
        power: In (0.5, 1).

    Returns:
        A fall in (margin, 1], or NaN where not even 1 would show.
    """
    return _reach(n, level, discordant, margin, power, 1.0, lambda f, margin: (margin, f))


def smallest_margin(n: int, level: float, discordant: float, power: float = POWER) -> float:
    """The smallest margin below which an unchanged accuracy is shown to lie, by the score test on n shared items.

    Args:
        n: Items.
        level: One-sided.
        discordant: Share of items that only one of the two gets right, in (0, 1].
        power: In (0.5, 1).

    Returns:
        A margin in (0, 1], or NaN where not even 1 would do.
    """
    return _reach(n, level, discordant, 0.0, power, 0.5, lambda f, _: (f, 0.0))


def _reach(
    n: int,
    level: float,
    discordant: float,
    start: float,
    power: float,
    correction: float,
    ends: Callable[[float, float], tuple[float, float]],
) -> float:
    """How far from `start` something must lie to be told from it.

    Args:
        n: Items.
        level: One-sided.
        discordant: Share of items that only one of the two gets right.
        start: What is to be told from.
        power: In (0.5, 1).
        correction: For continuity, in items.
        ends: What lies at f and `start` -> the fall under the hypothesis, and the true one.
    """
    if n < 1:
        return math.nan
    normal = NormalDist()
    a, b = normal.inv_cdf(1 - level), normal.inv_cdf(power)

    from evalrun.statistics.items.score_interval import variance_at  # scipy, that only those pay who ask

    def short_of(f: float) -> float:
        null, true = ends(f, start)
        q = max(discordant, true)
        spread = a * math.sqrt(variance_at(n * (q + true) / 2, n * (q - true) / 2, n, -null))
        return spread + b * math.sqrt(n * max(q - true**2, 0.0)) - (n * (f - start) - correction)

    return math.nan if short_of(1.0) > 0 else _root(short_of, start, 1.0)


def smallest_slope(n: int, coefficients: int, alpha: float, power: float = POWER) -> float:
    """The smallest standardised slope that the t test of a regression detects.

    In a fit of n values by ordinary least squares, outcome and predictor divided by their standard deviations and the
    predictor unrelated to the others, as in a full grid, the t statistic of the slope b is noncentral with

        noncentrality = b sqrt(n - 1) / sqrt(1 - b^2)

    when nothing else explains the outcome (else smaller slopes show). Errors are taken to be independent; where they
    are not, as between the checkpoints of one model, n is the number of what is independent.

    Args:
        n: Values.
        coefficients: Of the fit, intercept included.
        alpha: Two-sided level; divide it by the number of tests to correct for them as Bonferroni does.
        power: In (0.5, 1).

    Returns:
        Standard deviations of the outcome for each standard deviation of the predictor, in (0, 1); NaN where no degree
        of freedom is left.

    Source: Cohen 1988, Statistical power analysis, section 9.3; the noncentral t of scipy.special.
    """
    df = n - coefficients
    if df < 1:
        return math.nan
    from scipy.special import nctdtr, stdtrit  # a tenth of a second that only those pay who ask

    critical = float(stdtrit(df, 1 - alpha / 2))
    reach = critical + 10.0 + critical / math.sqrt(df) * 5
    noncentrality = _root(lambda nc: power - 1 + float(nctdtr(df, nc, critical)), 0.0, reach)
    return noncentrality / math.hypot(math.sqrt(n - 1), noncentrality)


def _root(falling: Callable[[float], float], low: float, high: float) -> float:
    """Where a function that is above 0 at `low` and not at `high` crosses it, by halving."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return high
