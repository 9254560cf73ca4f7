"""Degrees of freedom of a mixed model's t-tests, from how surely its variances are known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from evalrun.statistics.regression.model_frame import Array

_STEP = 5e-4  # of the numerical derivatives, relative to parameters above 1
_LEAST = 1e-8  # eigenvalue of the Hessian, below which its direction is on the boundary and left out

# Relative factor -> log-determinants, residual sum of squares, unscaled covariance of the coefficients
Parts = Callable[[Array], tuple[float, float, Array]]


def satterthwaite_df(parts: Parts, theta: Array, variance: float) -> Array:
    """Degrees of freedom of each coefficient, by Satterthwaite's approximation as lmerTest has it.

    With V a coefficient's squared standard error as a function of the parameters of the variances (the relative factor
    and the residual standard deviation), df = 2 V^2 / (g' A g): g is the gradient of V, A twice the inverse Hessian of
    -2 restricted log-likelihood. Derivatives by the factor are central differences, those by the residual standard
    deviation are exact.

    Args:
        parts: Of the criterion; -2 log-likelihood is their log-determinants + df log(variance) + squares / variance.
        theta: The relative factor at the maximum, (1,) or (3,).
        variance: Of the residuals at the maximum.

    Returns:
        (coefficients,); NaN where the derivatives are of no use.

    Source: Kuznetsova, Brockhoff & Christensen 2017, doi:10.18637/jss.v082.i13, equations 5 and 6.
    """
    sd, count = float(np.sqrt(variance)), len(theta)
    step = _STEP * np.maximum(1.0, np.abs(theta))

    def at(*moves: tuple[int, int]) -> tuple[float, float, Array]:
        """The criterion at this residual variance, the squares and the covariance's diagonal, some steps away."""
        there = theta.copy()
        for place, sign in moves:
            there[place] += sign * step[place]
        determinants, squares, covariance = parts(there)
        return determinants + squares / variance, squares, np.diag(covariance)

    here = at()
    beside = [(at((k, 1)), at((k, -1))) for k in range(count)]
    hessian = np.empty((count + 1, count + 1))
    for k, (up, down) in enumerate(beside):
        hessian[k, k] = (up[0] - 2 * here[0] + down[0]) / step[k] ** 2
        hessian[k, count] = hessian[count, k] = -(up[1] - down[1]) / step[k] / sd**3
        for j in range(k):
            cross = at((k, 1), (j, 1))[0] - at((k, 1), (j, -1))[0] - at((k, -1), (j, 1))[0] + at((k, -1), (j, -1))[0]
            hessian[k, j] = hessian[j, k] = cross / (4 * step[k] * step[j])
    hessian[count, count] = 4 * here[1] / variance**2
    if not np.isfinite(hessian).all():
        return np.full(len(here[2]), np.nan)
    values, vectors = np.linalg.eigh(hessian)
    kept = values > _LEAST
    spread = vectors[:, kept] * np.sqrt(2 / values[kept])  # A = spread spread'
    slopes = [variance * (up[2] - down[2]) / (2 * step[k]) for k, (up, down) in enumerate(beside)]
    gradient = np.stack([*slopes, 2 * sd * here[2]])
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(2 * (variance * here[2]) ** 2 / ((gradient.T @ spread) ** 2).sum(axis=1), dtype="float64")
