"""Is a curve U-shaped? The quadratic with its turning point, and the two-lines test; many curves at once.

Errors. Where the variance of each value is known (item sampling, training noise: see `noise`), lines are fitted with
weights 1 / variance and their errors are those of the known variances, times the root of the reduced chi-squared where
that exceeds 1: never less than known, never less than the points' scatter about the fit. Tests are then against
Student's t with the degrees of freedom of the variances, normal where infinite. Without variances errors come from the
scatter alone, with the residual degrees of freedom; with eight points the two-lines test then has next to no power.

Shapes: m curves of k points; x, y and variance are (m, k), x in increasing order. A curve that cannot be fitted (too
few points, or too few distinct x) has NaN in all numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import t as student

from evalrun.statistics.shapes.noise import Array

Flags = np.ndarray[Any, np.dtype[np.bool_]]
_MIDDLE = 0.1  # share of the points at either end where Simonsohn's break may not lie


@dataclass(frozen=True)
class KnownVariance:
    """What is known of the errors of m curves."""

    variance: Array  # (m, k), above 0
    df: Array  # (m,) degrees of freedom of these variances; infinite where they are exact


@dataclass(frozen=True)
class Fits:
    """m weighted least-squares fits of p coefficients."""

    coefficients: Array  # (m, p)
    covariance: Array  # (m, p, p)
    df: Array  # (m,)


@dataclass(frozen=True)
class Quadratic:
    """y = a + b x + c x^2; every field is (m,)."""

    coefficient: Array  # c
    stderr: Array
    p: Array  # two-sided, of c = 0
    turn: Array  # -b / 2c, the turning point
    turn_low: Array  # its Fieller interval; infinite ends where c is not significant
    turn_high: Array
    slope_first: Array  # at the first x
    slope_last: Array  # at the last x
    p_middle: Array  # two-sided, of slope 0 at the middle of the range
    p_u: Array  # of no U (c > 0) or inverted U (c < 0) within the range of x


@dataclass(frozen=True)
class TwoLines:
    """Two lines, before and after a break; every field is (m,)."""

    turn: Array  # the break
    slope_before: Array
    p_before: Array  # two-sided, of slope_before = 0
    slope_after: Array
    p_after: Array


def quadratic(x: Array, y: Array, known: KnownVariance | None, alpha: float) -> Quadratic:
    """Fit a parabola and test it for a turn within the range of x.

    The turning point's interval is Fieller's (1954), the test that of Lind & Mehlum (2010, Oxford Bulletin of Economics
    and Statistics 72:109-118): a U has a significantly negative slope at the first x and a significantly positive one
    at the last; its p is the larger of the two one-sided p-values.

    Args:
        x: Places, log10 of tokens or parameters.
        y: Values.
        known: Variances of y, or None.
        alpha: 1 - level of the interval.

    Returns:
        Estimates in units of y and x.
    """
    centre, half = (x[:, -1:] + x[:, :1]) / 2, np.maximum((x[:, -1:] - x[:, :1]) / 2, 1e-12)
    u = (x - centre) / half
    fits = least_squares(np.stack([np.ones_like(u), u, u**2], axis=2), y, known, distinct(x) >= 3)
    b, c = fits.coefficients[:, 1], fits.coefficients[:, 2]
    vb, vc, vbc = fits.covariance[:, 1, 1], fits.covariance[:, 2, 2], fits.covariance[:, 1, 2]
    ends = np.stack([b - 2 * c, b + 2 * c], axis=1)
    end_errors = np.sqrt(np.stack([vb + 4 * vc - 4 * vbc, vb + 4 * vc + 4 * vbc], axis=1))
    scale, middle = half[:, 0], centre[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.sign(c)[:, None] * ends / end_errors * np.array([-1.0, 1.0])
        p_u = student.sf(z, fits.df[:, None]).max(axis=1)
        low, high = _fieller(b, c, vb, vc, vbc, student.isf(alpha / 2, fits.df))
        turn = np.where(np.isfinite(c), middle - scale * b / (2 * c), np.nan)
        p, p_middle = (2 * student.sf(np.abs(a) / np.sqrt(v), fits.df) for a, v in ((c, vc), (b, vb)))
    return Quadratic(
        coefficient=c / scale**2,
        stderr=np.sqrt(vc) / scale**2,
        p=p,
        turn=turn,
        turn_low=middle + scale * low,
        turn_high=middle + scale * high,
        slope_first=ends[:, 0] / scale,
        slope_last=ends[:, 1] / scale,
        p_middle=p_middle,
        p_u=p_u,
    )


def two_lines(x: Array, y: Array, known: KnownVariance | None) -> TwoLines:
    """Simonsohn's two-lines test: a U where both slopes are significant and opposite.

    The break is set by his Robin Hood procedure: a smooth curve (here a natural cubic spline with 3 to 5 knots) gives
    the most extreme fitted value among the middle 80 % of the points, a dip or a peak as the parabola bends; the points
    whose fitted value is within one standard error of it are the flat region; two lines are fitted with the break at
    its median, and the break moves to the quantile z2 / (z1 + z2) of the region, which gives the weaker line more
    points. A point at the break belongs to both lines. Without known variances errors are HC3 (MacKinnon & White 1985)
    of the interrupted regression, with k - 4 degrees of freedom.

    Args:
        x: Places.
        y: Values.
        known: Variances of y, or None.

    Returns:
        Slopes in units of y for each unit of x. A line that cannot be tested (fewer than two points; without
        known variances fewer than three) has a NaN p.

    Source: Simonsohn 2018, Advances in Methods and Practices in Psychological Science 1(4):538-555.
    """
    region = _flat_region(x, y, known)
    _, z_before, _, z_after = _lines(x, y, known, _quantile(x, region, np.full(len(x), 0.5)))[:4]
    strength = np.nan_to_num(np.abs(np.stack([z_before, z_after])), nan=1.0, posinf=1e6)
    share = strength[1] / np.maximum(strength.sum(axis=0), 1e-12)
    turn = _quantile(x, region, share)
    before, z_before, after, z_after, df = _lines(x, y, known, turn)
    p_before, p_after = (2 * student.sf(np.abs(z), df) for z in (z_before, z_after))
    return TwoLines(turn, before, p_before, after, p_after)


def least_squares(columns: Array, y: Array, known: KnownVariance | None, usable: Flags) -> Fits:
    """Weighted least squares of m curves at once, errors as the module's docstring says.

    Args:
        columns: (m, k, p) predictors.
        y: (m, k) values.
        known: Variances of y, or None for ordinary least squares.
        usable: (m,) whether the predictors have full rank.

    Returns:
        The fits; NaN where not usable, and without known variances where no residual degree of freedom is left.
    """
    k, p = columns.shape[1:]
    weighted = columns if known is None else columns / known.variance[:, :, None]
    normal = np.einsum("mkp,mkq->mpq", weighted, columns)
    inverse = np.linalg.inv(np.where(usable[:, None, None], normal, np.eye(p)))
    coefficients = np.einsum("mpq,mkq,mk->mp", inverse, weighted, y)
    residual = y - np.einsum("mkp,mp->mk", columns, coefficients)
    squares = (residual**2 / (1.0 if known is None else known.variance)).sum(axis=1)
    scale = squares / (k - p) if k > p else np.full(len(y), np.nan)
    if known is not None:
        scale = np.fmax(scale, 1.0)
    covariance = inverse * scale[:, None, None]
    df = np.full(len(y), float(k - p) if k > p else np.nan) if known is None else known.df
    coefficients, covariance = coefficients.copy(), covariance.copy()
    coefficients[~usable], covariance[~usable] = np.nan, np.nan
    return Fits(coefficients, covariance, df)


def distinct(x: Array) -> np.ndarray[Any, np.dtype[np.int64]]:
    """How many different places each curve has; x is in increasing order."""
    tolerance = 1e-9 * np.maximum(x[:, -1:] - x[:, :1], 1e-300)
    return np.asarray(1 + (np.diff(x, axis=1) > tolerance).sum(axis=1))


def _fieller(b: Array, c: Array, vb: Array, vc: Array, vbc: Array, t: Array) -> tuple[Array, Array]:
    """Where b + 2 c u = 0 cannot be rejected: the ends of the interval of u, infinite where it has none."""
    second, first, last = 4 * (c**2 - t**2 * vc), 4 * (b * c - t**2 * vbc), b**2 - t**2 * vb
    bounded = second > 0
    root = np.sqrt(np.where(bounded, np.maximum(first**2 - 4 * second * last, 0.0), 0.0))
    divisor = np.where(bounded, 2 * second, 1.0)
    low, high = (np.where(bounded, (-first + sign * root) / divisor, sign * np.inf) for sign in (-1.0, 1.0))
    missing = ~np.isfinite(second)
    return np.where(missing, np.nan, low), np.where(missing, np.nan, high)


def _flat_region(x: Array, y: Array, known: KnownVariance | None) -> Flags:
    """(m, k) points that a smooth curve has near its dip or peak; the whole middle where no curve can be fitted."""
    k = x.shape[1]
    bend = least_squares(
        np.stack([np.ones_like(x), x - x[:, :1], (x - x[:, :1]) ** 2], axis=2), y, known, distinct(x) >= 3
    )
    up = -np.where(np.sign(bend.coefficients[:, 2]) == 0, 1.0, np.sign(bend.coefficients[:, 2]))[:, None]
    basis, usable = _spline(x)
    smooth = least_squares(basis, y, known, usable)
    fitted = up * np.einsum("mkp,mp->mk", basis, smooth.coefficients)
    error = np.sqrt(np.maximum(np.einsum("mkp,mpq,mkq->mk", basis, smooth.covariance, basis), 0.0))
    low, high = np.quantile(x, _MIDDLE, axis=1), np.quantile(x, 1 - _MIDDLE, axis=1)
    middle = (x > low[:, None]) & (x < high[:, None]) if k > 2 else np.ones_like(x, dtype=bool)
    middle[~middle.any(axis=1)] = True
    most = np.where(middle, fitted, -np.inf).max(axis=1, keepdims=True)
    region = middle & (fitted + error >= most)
    return np.where(np.isfinite(most) & region.any(axis=1, keepdims=True), region, middle)


def _spline(x: Array) -> tuple[Array, Flags]:
    """Natural cubic splines (m, k, knots), knots at even quantiles, and whether the knots differ."""
    k = x.shape[1]
    count = 3 if k < 7 else 4 if k < 100 else 5
    u = (x - x[:, :1]) / np.maximum(x[:, -1:] - x[:, :1], 1e-12)
    knots = np.quantile(u, np.linspace(0, 1, count), axis=1).T
    usable = (np.diff(knots, axis=1) > 1e-6).all(axis=1) & (distinct(x) >= count)
    knots = np.where(usable[:, None], knots, np.linspace(0, 1, count))
    cubes = np.maximum(u[:, :, None] - knots[:, None, :], 0.0) ** 3
    slopes = (cubes[:, :, :-1] - cubes[:, :, -1:]) / (knots[:, -1:] - knots[:, :-1])[:, None, :]
    bent = slopes[:, :, :-1] - slopes[:, :, -1:]  # Hastie, Tibshirani & Friedman 2009, equation 5.4
    return np.concatenate([np.ones_like(u)[:, :, None], u[:, :, None], bent], axis=2), usable


def _quantile(x: Array, member: Flags, share: Array) -> Array:
    """Each curve's quantile of its member points, linear between them."""
    ordered = np.sort(np.where(member, x, np.inf), axis=1)
    place = share * (member.sum(axis=1) - 1)
    below = np.floor(place).astype(np.int64)
    above = np.ceil(place).astype(np.int64)
    some = np.arange(len(x))
    first, second = ordered[some, below], ordered[some, above]
    return np.asarray(first + (place - below) * np.where(above > below, second - first, 0.0))


def _lines(x: Array, y: Array, known: KnownVariance | None, turn: Array) -> tuple[Array, Array, Array, Array, Array]:
    """Slope and slope over error of the line before the break, the same after it, and degrees of freedom."""
    tolerance = 1e-9 * np.maximum(np.ptp(x, axis=1), 1e-300)
    sides = (x <= (turn + tolerance)[:, None], x >= (turn - tolerance)[:, None])
    k = x.shape[1]
    df = np.full(len(x), float(k - 4) if k > 4 else np.nan) if known is None else known.df
    found = [_line(x, y, known, side) for side in sides]
    return (*found[0], *found[1], df)


def _line(x: Array, y: Array, known: KnownVariance | None, member: Flags) -> tuple[Array, Array]:
    """Slope of the line through a curve's member points, and slope over its error."""
    weight = member / known.variance if known is not None else member.astype(np.float64)
    count, whole = member.sum(axis=1), np.maximum(weight.sum(axis=1, keepdims=True), 1e-300)
    dx = np.where(member, x - (weight * x).sum(axis=1, keepdims=True) / whole, 0.0)
    dy = np.where(member, y - (weight * y).sum(axis=1, keepdims=True) / whole, 0.0)
    spread = (weight * dx**2).sum(axis=1)
    spread = np.where((spread > 0) & (count >= 2), spread, np.nan)
    slope = (weight * dx * dy).sum(axis=1) / spread
    residual = dy - slope[:, None] * dx
    if known is not None:
        squares = (weight * residual**2).sum(axis=1)
        scale = np.where(count > 2, squares / np.maximum(count - 2, 1), 1.0)
        return slope, slope / np.sqrt(np.maximum(scale, 1.0) / spread)
    leverage = member / whole + dx**2 / spread[:, None]
    left = np.where(member & (leverage < 1 - 1e-9), 1 - leverage, np.nan)
    inflated = np.where(member, dx / spread[:, None] * residual / left, 0.0)
    error = np.sqrt((inflated**2).sum(axis=1))
    return slope, np.divide(slope, error, out=np.where(slope == 0, 0.0, np.nan), where=error > 1e-12)
