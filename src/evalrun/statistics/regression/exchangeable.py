"""Gaussian generalised estimating equations with one correlation within clusters, from sums over each cluster's rows.

With V_g = (1 - rho) I + rho 11' of a cluster of k rows, V_g^-1 = (I - c 11') / (1 - rho), c = rho / (1 + rho (k - 1)):
all that is needed of a cluster are X'X, X'1, X'r, 1'r and r'r. Neither is Mancl & DeRouen's (I - H_g)^-1 r of a cluster
a system of its size: with H_g = X B X' V^-1, (I - H_g)^-1 r = r + X (I - B X' V^-1 X)^-1 B X' V^-1 r (Woodbury), one of
as many unknowns as there are coefficients.

Steps, starting values and stopping rule are those of `statsmodels.GEE`, whose numbers these are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evalrun.statistics.regression.geometry import Array
from evalrun.statistics.regression.model_frame import Design

_MOST_STEPS, _NEAR = 60, 1e-6  # statsmodels': of the score's length
_WORST = 1e8  # condition, beyond which a cluster's own correction is left to statsmodels' way


@dataclass(frozen=True)
class Equations:
    """Where the estimating equations are solved."""

    estimate: Array  # (columns,)
    stderr: Array  # (columns,) bias-reduced
    converged: bool


@dataclass(frozen=True)
class _Clusters:
    """What the predictors say of each cluster."""

    design: Design
    size: Array  # (clusters,) rows
    cross: Array  # (clusters, columns, columns) X'X
    total: Array  # (clusters, columns) X'1

    @classmethod
    def of(cls, design: Design) -> _Clusters:
        """Those of a design, whose first column is the intercept."""
        cross = design.geometry.cross
        return cls(design, cross[:, 0, 0], cross, cross[:, 0])

    def residuals(self, beta: Array) -> _Residuals:
        """What is left at some coefficients."""
        left = self.design.y - self.design.x @ beta
        moments = self.design.geometry.sums(self.design.x, left[:, None])[:, :, 0]
        squares = np.bincount(self.design.groups, weights=left**2).astype("float64")
        return _Residuals(moments, moments[:, 0], squares)

    def information(self, rho: float) -> Array:
        """(clusters, columns, columns): X' V^-1 X."""
        outer = self.total[:, :, None] * self.total[:, None, :]
        return (self.cross - self.share(rho)[:, None, None] * outer) / (1 - rho)

    def score(self, left: _Residuals, rho: float) -> Array:
        """(clusters, columns): X' V^-1 r."""
        return (left.moments - (self.share(rho) * left.total)[:, None] * self.total) / (1 - rho)

    def share(self, rho: float) -> Array:
        """(clusters,): c."""
        return rho / (1 + rho * (self.size - 1))

    def correlation(self, left: _Residuals) -> float:
        """Between two rows of a cluster, by the moments of all pairs."""
        columns = self.design.x.shape[1]
        pairs = float((self.size * (self.size - 1) / 2).sum())
        together = float(((left.total**2 - left.squares) / 2).sum())
        return float(together / self.scale(left) / (pairs - columns))

    def scale(self, left: _Residuals) -> float:
        """The variance of a row."""
        rows, columns = self.design.x.shape
        return float(left.squares.sum() / (rows - columns))


@dataclass(frozen=True)
class _Residuals:
    """Sums over the residuals r of each cluster."""

    moments: Array  # (clusters, columns) X'r
    total: Array  # (clusters,) 1'r
    squares: Array  # (clusters,) r'r


def solve(design: Design, start: Array) -> Equations | None:
    """Solve the equations and compute the errors of Mancl & DeRouen.

    Args:
        design: Rows of clusters; the first column is the intercept.
        start: (columns,) the coefficients to begin with, those of least squares.

    Returns:
        The solution; None where the numbers need statsmodels' own way (no finite step, a cluster that alone decides a
        coefficient).
    """
    clusters, beta, rho, length = _Clusters.of(design), start.copy(), 0.0, np.inf
    try:
        with np.errstate(divide="raise", invalid="raise"):  # a correlation of -1 / (rows - 1) has no inverse
            for step in range(_MOST_STEPS):
                score = clusters.score(clusters.residuals(beta), rho).sum(axis=0)
                beta = beta + np.linalg.solve(clusters.information(rho).sum(axis=0), score)
                length = float(np.sqrt((score**2).sum()))
                if length < _NEAR and step > 0:
                    break
                rho = clusters.correlation(clusters.residuals(beta))
            stderr = _errors(clusters, clusters.residuals(beta), rho)
    except (np.linalg.LinAlgError, ZeroDivisionError, FloatingPointError):
        return None
    if stderr is None or not (np.isfinite(beta).all() and np.isfinite(stderr).all()):
        return None
    return Equations(beta, stderr, length < _NEAR)


def _errors(clusters: _Clusters, left: _Residuals, rho: float) -> Array | None:
    """The bias-reduced standard errors; None where (I - H_g) of a cluster is close to singular.

    Args:
        clusters: The predictors.
        left: The residuals at the solution.
        rho: The correlation there.
    """
    own, score = clusters.information(rho), clusters.score(left, rho)
    bread = np.linalg.inv(own.sum(axis=0))
    kept = np.eye(len(bread)) - bread @ own  # (clusters, columns, columns): I - B X' V^-1 X
    if not np.isfinite(kept).all() or np.linalg.cond(kept).max() > _WORST:
        return None
    more = np.linalg.solve(kept, (score @ bread)[..., None])
    scores = score + (own @ more)[..., 0]  # X' V^-1 (I - H)^-1 r
    return np.asarray(np.sqrt(((scores @ bread) ** 2).sum(axis=0)), dtype="float64")
