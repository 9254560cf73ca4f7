"""The broken line: continuous, straight on either side of one break; many curves at once.

The break is found by least squares. Between two neighbouring points the best break is where the lines fitted on either
side cross, if they cross there, else at a point (Hudson 1966, Journal of the American Statistical Association
61:1097-1129): so trying all points and all such crossings finds it exactly. Errors are as in `curve_tests`. The break's
interval is a profile likelihood's: all breaks whose sum of squares is not significantly above the least, by F with 1
and k - 4 degrees of freedom, or by chi-squared where the variances are known (Muggeo 2003, Statistics in Medicine
22:3055-3071, on why a symmetric interval misleads). Whether there is a break at all is tested with 3 degrees of freedom
in place of 1, because the best of many breaks is compared with none. No theory gives that number: it is the smallest
that kept the level below 5 % in simulations with 6, 8, 16 and 50 points. Where that test fails the break is not
identified and the interval is all that was searched: from the second point to the last but one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2
from scipy.stats import f as fisher
from scipy.stats import t as student

from evalrun.statistics.shapes.curve_tests import Flags, KnownVariance, distinct, least_squares
from evalrun.statistics.shapes.noise import Array

_GRID = 101  # breaks tried for the interval's ends, besides all points: one percent of the range
_AT_ONCE = 1_000_000  # values


@dataclass(frozen=True)
class BrokenLine:
    """y = a + b x + c (x - turn)+; every field is (m,)."""

    turn: Array  # the break
    turn_low: Array
    turn_high: Array
    value: Array  # of the line at the break
    identified: Flags  # whether a break is significantly better than none
    slope_before: Array
    p_before: Array  # two-sided, of slope_before = 0, given the break
    slope_after: Array
    p_after: Array
    gain: Array  # AICc of the straight line less that of the broken one; of AIC where variances are known


def broken_line(x: Array, y: Array, known: KnownVariance | None, alpha: float) -> BrokenLine:
    """Fit a broken line.

    The gain takes the break for a parameter. Where variances are known it is that of chi-squared over the broken line's
    reduced chi-squared (at least 1), as for overdispersed data (QAIC: Burnham & Anderson 2002, section 2.5); AICc's
    small-sample term, which is there because a variance is estimated, is left out.

    Args:
        x: (m, k) places in increasing order.
        y: (m, k) values.
        known: Variances of y, or None.
        alpha: 1 - level of the interval.

    Returns:
        Breaks in units of x, slopes in units of y for each unit of x. NaN with fewer than five points or different x.
    """
    m, k = x.shape
    usable = distinct(x) >= 5
    if k < 5:
        nothing = np.full(m, np.nan)
        return BrokenLine(nothing, nothing, nothing, nothing, usable, nothing, nothing, nothing, nothing, nothing)
    weight = np.ones_like(y) if known is None else 1 / known.variance
    turn, low, high, line, least = _profile(x, y, weight, known is not None, alpha)
    hinge = np.maximum(x - turn[:, None], 0.0)
    fits = least_squares(np.stack([np.ones_like(x), x - x[:, :1], hinge], axis=2), y, known, usable)
    # One more parameter than least_squares knows of: the break.
    more = np.sqrt((k - 3) / (k - 4)) if known is None else 1.0
    df = np.full(m, k - 4.0) if known is None else fits.df
    before, bend = fits.coefficients[:, 1], fits.coefficients[:, 2]
    v = fits.covariance
    with np.errstate(divide="ignore", invalid="ignore"):
        z_before = before / (more * np.sqrt(v[:, 1, 1]))
        z_after = (before + bend) / (more * np.sqrt(v[:, 1, 1] + v[:, 2, 2] + 2 * v[:, 1, 2]))
    if known is None:
        gain = k * np.log(line / least) + _penalty(3, k) - _penalty(5, k)
    else:
        gain = (line - least) / np.maximum(least / (k - 4), 1.0) - 4
    p_before, p_after = (2 * student.sf(np.abs(z), df) for z in (z_before, z_after))
    value = fits.coefficients[:, 0] + before * (turn - x[:, 0])
    fields = [turn, low, high, value, before, p_before, before + bend, p_after, gain]
    at, low, high, value, before, p_before, after, p_after, gain = (np.where(usable, field, np.nan) for field in fields)
    identified = usable & (line > _limit(least, k, known is not None, alpha, 3))
    low, high = np.where(identified | ~usable, low, x[:, 1]), np.where(identified | ~usable, high, x[:, -2])
    return BrokenLine(at, low, high, value, identified, before, p_before, after, p_after, gain)


def _penalty(parameters: int, k: int) -> float:
    """What AICc adds to the deviance; the variance is one of the parameters."""
    left = k - parameters - 1
    return 2 * parameters + (2 * parameters * (parameters + 1) / left if left > 0 else np.inf)


def _limit(least: Array, k: int, known: bool, alpha: float, df: int = 1) -> Array:
    """The largest sum of squares that is not significantly above the least."""
    if known:
        return np.asarray(least + chi2.isf(alpha, df) * np.maximum(least / (k - 4), 1.0))
    return np.asarray(least * (1 + df * fisher.isf(alpha, df, k - 4) / (k - 4)))


def _profile(x: Array, y: Array, weight: Array, known: bool, alpha: float) -> tuple[Array, Array, Array, Array, Array]:
    """Best break, its interval, and the sums of squares of the straight and of the broken line."""
    m, k = x.shape
    size = max(1, _AT_ONCE // (2 * k + _GRID))
    parts = []
    for start in range(0, m, size):
        own = slice(start, start + size)
        parts.append(_profile_some(x[own], y[own], weight[own], known, alpha))
    first, second, third, fourth, fifth = (np.concatenate(part) for part in zip(*parts, strict=True))
    return first, second, third, fourth, fifth


def _profile_some(
    x: Array, y: Array, weight: Array, known: bool, alpha: float
) -> tuple[Array, Array, Array, Array, Array]:
    """Profile the place of a break over a grid, the inner points, and where the best one between two points can lie.

    Args:
        x: log10 of tokens, m curves by k points, ascending.
        y: Values, of the same shape.
        weight: Of the points: 1 / variance up to a factor.
        known: Whether the variances are known, and not only their ratios.
        alpha: Of the interval.

    Returns:
        The best place, both ends of its interval, and the weighted squares of the straight and of the broken line.
    """
    k = x.shape[1]
    low, high = x[:, 1:2], x[:, -2:-1]
    grid = low + (high - low) * np.linspace(0, 1, _GRID)
    tried = np.concatenate([x[:, 1:-1], _crossings(x, y, weight), grid], axis=1)
    whole = weight.sum(axis=1, keepdims=True)
    dx = x - (weight * x).sum(axis=1, keepdims=True) / whole
    dy = y - (weight * y).sum(axis=1, keepdims=True) / whole
    spread = np.maximum((weight * dx**2).sum(axis=1, keepdims=True), 1e-300)
    residual = dy - (weight * dx * dy).sum(axis=1, keepdims=True) / spread * dx
    line = (weight * residual**2).sum(axis=1)
    # By Frisch, Waugh & Lovell the hinge takes off what its part orthogonal to the line explains of the residual.
    hinge, along, square, shared = _hinges(x, tried, weight, residual)
    along += dx[:, -1:] * hinge  # from the mean, and not from the last point
    size = square - hinge**2 / whole - along**2 / spread
    gained = np.divide(shared**2, size, out=np.zeros_like(size), where=size > 1e-9 * spread)
    # Rounding leaves a perfect fit a little above or below 0.
    floor = 1e-12 * (weight * dy**2).sum(axis=1, keepdims=True) + 1e-300
    squares = np.maximum(line[:, None] - gained, floor)
    best = squares.argmin(axis=1)
    least = np.take_along_axis(squares, best[:, None], axis=1)[:, 0]
    near = squares <= _limit(least, k, known, alpha)[:, None]
    found = np.take_along_axis(tried, best[:, None], axis=1)[:, 0]
    ends = np.where(near, tried, np.inf).min(axis=1), np.where(near, tried, -np.inf).max(axis=1)
    return found, *ends, np.maximum(line, floor[:, 0]), least


def _hinges(x: Array, tried: Array, weight: Array, residual: Array) -> tuple[Array, Array, Array, Array]:
    """Weighted sums over the points beyond each of g places: of the hinge, and of its products.

    From sums up to each point, all places cost what the points do. They count from the last point: where few are beyond
    a place, nothing large is taken from something as large.

    Args:
        x: (m, k) ascending.
        tried: (m, g) places.
        weight: (m, k)
        residual: (m, k) whose weighted sum is 0.

    Returns:
        (m, g) sums of h = (x - place)+, of h (x - last x), of h squared, and of h times the residual.
    """
    u, place = x - x[:, -1:], tried - x[:, -1:]
    beyond = np.stack([np.searchsorted(own, at, side="right") for own, at in zip(x, tried, strict=True)])
    parts = np.stack([weight, weight * u, weight * u**2, weight * residual, weight * residual * u])
    sums = np.zeros((*parts.shape[:2], x.shape[1] + 1))
    sums[:, :, :-1] = np.cumsum(parts[:, :, ::-1], axis=2)[:, :, ::-1]
    s, su, suu, r, ru = (np.take_along_axis(one, beyond, axis=1) for one in sums)
    return su - place * s, suu - place * su, suu - 2 * place * su + place**2 * s, ru - place * r


def _crossings(x: Array, y: Array, weight: Array) -> Array:
    """Where the lines on either side of each gap cross, if in that gap; else the gap's first point, tried anyway."""
    u = x - x.mean(axis=1, keepdims=True)
    sums = np.stack([weight, weight * u, weight * u**2, weight * y, weight * u * y])
    left = np.cumsum(sums, axis=2)
    right = left[:, :, -1:] - left
    with np.errstate(divide="ignore", invalid="ignore"):
        (a, b), (c, d) = (_through(side[:, :, 1:-2]) for side in (left, right))
        crossing = (c - a) / (b - d) + x.mean(axis=1, keepdims=True)
    first, last = x[:, 1:-2], x[:, 2:-1]
    return np.where((crossing >= first) & (crossing <= last), crossing, first)


def _through(sums: Array) -> tuple[Array, Array]:
    """Intercept and slope from the sums of w, wx, wxx, wy and wxy."""
    w, wx, wxx, wy, wxy = sums
    slope = (w * wxy - wx * wy) / (w * wxx - wx**2)
    return (wy - slope * wx) / w, slope
