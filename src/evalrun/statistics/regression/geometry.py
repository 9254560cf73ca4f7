"""What a regression has of its predictors alone: worked out once for all tasks that were scored on the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

Array = np.ndarray[Any, np.dtype[np.float64]]
Codes = np.ndarray[Any, np.dtype[np.int64]]

_WHOLE = 1e-10  # of 1 - S^2, below which it is 0: a cluster alone decides a direction


def dense(x: Any) -> Array:
    """A matrix that may be sparse (`scipy.sparse`), as an array."""
    return np.asarray(x.toarray() if sparse.issparse(x) else x, dtype="float64")


class Reduced(NamedTuple):
    """What bias-reduced cluster errors (CR2) need beside the residuals."""

    weights: Array  # (rows, effects): A_g X_g (X'X)^-1 c of the row's cluster
    df: Array  # (effects,) Satterthwaite's


class Geometry:
    """Predictors and clusters of some rows.

    Args:
        x: (rows, columns) intercept, the effects, then nuisance columns if any; where these are many it may be sparse:
            `inverse` and `reduced` keep it so.
        groups: (rows,) the cluster of each row: 0, 1, ...
        effects: How many columns after the first are asked about.
        contrasts: (asked, columns) combinations of coefficients that are asked about in their place.
    """

    def __init__(self, x: Array, groups: Codes, effects: int, contrasts: Array | None = None) -> None:
        self.x, self.groups = x, groups
        self._asked = np.eye(1 + effects, x.shape[1])[1:] if contrasts is None else contrasts

    @cached_property
    def clusters(self) -> int:
        """How many."""
        return int(self.groups.max()) + 1

    @cached_property
    def rank(self) -> int:
        """Of x."""
        return int(np.linalg.matrix_rank(dense(self.x)))

    @cached_property
    def pinv(self) -> Array:
        """(columns, rows) the pseudo-inverse of x, which makes coefficients of values."""
        return np.asarray(np.linalg.pinv(dense(self.x), rcond=1e-15), dtype="float64")

    @cached_property
    def bread(self) -> Array:
        """The unscaled covariance of the coefficients, by the pseudo-inverse: of any rank."""
        return self.pinv @ self.pinv.T

    @cached_property
    def inverse(self) -> Array:
        """(X'X)^-1, of full rank."""
        return np.asarray(np.linalg.inv(dense(self.x.T @ self.x)), dtype="float64")

    @cached_property
    def leverage(self) -> Array:
        """(rows,) the diagonal of the hat matrix."""
        return np.asarray(np.einsum("ri,ir->r", dense(self.x), self.pinv), dtype="float64")

    @cached_property
    def cross(self) -> Array:
        """(clusters, columns, columns): X_g'X_g."""
        return self.sums(self.x, self.x)

    @cached_property
    def reduced(self) -> Reduced:
        """The weights and degrees of freedom of CR2: `clustered.fit_cr2` says how.

        With H_g = X_g (X'X)^-1 X_g' = U S^2 U' of a cluster g, (I - H_g)^(-1/2) = I + U (1 / sqrt(1 - S^2) - 1) U';
        where 1 - S^2 is 0 its inverse is taken as 0. U is X_g L V / S, of L L' = (X'X)^-1 and L' X_g'X_g L = V S^2 V':
        nothing of a cluster's size squared is needed, and no decomposition of its rows.
        """
        bread = self.inverse
        half: Array = np.asarray(np.linalg.cholesky(bread), dtype="float64")
        contrasts = self._asked @ bread  # (effects, columns)
        count = len(contrasts)
        every = np.empty((len(self.groups), count))
        reach: Array = np.empty((self.clusters, count, self.x.shape[1]))  # X_g' w_g with w_g = A_g X_g (X'X)^-1 c
        length: Array = np.empty((self.clusters, count))  # w_g' w_g
        for g in range(self.clusters):
            rows = self.groups == g
            own = self.x[rows]
            gram = dense(own.T @ own)
            shares, v = np.linalg.eigh(half.T @ gram @ half)  # S^2
            left = 1 - shares
            root = np.sqrt(np.where(left > _WHOLE, left, 1.0))
            grow = np.where(left > _WHOLE, 1 / (root * (1 + root)), -1.0)  # (1 / sqrt(1 - S^2) - 1) / S^2; -1 / 1
            turn = half @ (v * grow) @ v.T @ half.T
            weights = own @ (contrasts + contrasts @ gram @ turn).T
            every[rows] = weights
            reach[g] = (own.T @ weights).T
            length[g] = (weights**2).sum(axis=0)
        return Reduced(every, _satterthwaite(reach, length, bread))

    def sums(self, left: Array, right: Array) -> Array:
        """The products left' right of each cluster's rows: (clusters, columns of left, columns of right)."""
        order, starts = self._order
        products = left[order][:, :, None] * right[order][:, None, :]
        return np.asarray(np.add.reduceat(products, starts, axis=0), dtype="float64")

    @cached_property
    def _order(self) -> tuple[Codes, Codes]:
        """The rows, cluster by cluster, and where each begins among them."""
        order = np.argsort(self.groups, kind="stable")
        return order, np.searchsorted(self.groups[order], np.arange(self.clusters))


class SharedGeometry:
    """Gives the geometry of rows, one for all tasks that have the same."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, bytes, int], Geometry] = {}

    def of(self, x: Array, groups: Codes, effects: Sequence[str]) -> Geometry:
        """The geometry of these predictors and clusters, made at most once."""
        key = (x.tobytes(), groups.tobytes(), len(effects))
        if key not in self._known:
            self._known[key] = Geometry(x, groups, len(effects))
        return self._known[key]


def _satterthwaite(reach: Array, length: Array, bread: Array) -> Array:
    """Degrees of freedom: trace(P)^2 / trace(P P), P_gh = [g = h] w_g'w_g - w_g' X_g (X'X)^-1 X_h' w_h."""
    df = np.empty(reach.shape[1])
    for k in range(len(df)):
        p = np.diag(length[:, k]) - reach[:, k] @ bread @ reach[:, k].T
        df[k] = np.trace(p) ** 2 / (p**2).sum() if (p**2).sum() > 0 else np.nan
    return df
