"""OLS with errors clustered by model: the checkpoints of one model are one observation that was looked at often."""

from __future__ import annotations

from typing import Any

import numpy as np
from statsmodels.regression.linear_model import OLS

from evalrun.statistics.regression.estimators import Fit, asked, no_fit, t_fit
from evalrun.statistics.regression.model_frame import Array, Design, join_notes

FEWEST = 3  # clusters, for errors between them
FEW = 10  # clusters, below which the plain cluster error is known to be too small


def few_models(design: Design) -> str:
    """Why errors cannot be clustered; empty when they can."""
    count = design.clusters
    if count >= FEWEST:
        return ""
    return f"{count} model{'s' if count > 1 else ''}: too few for errors clustered by model"


def one_row_each(design: Design) -> str:
    """That models have one checkpoint each, so that nothing depends on anything within them; empty else."""
    single = design.clusters == len(design.y)
    return "one checkpoint a model: nothing within models to take into account" if single else ""


def fit_cluster(design: Design, alpha: float) -> Fit:
    """OLS with cluster-robust errors, small-sample factor CR1, t with clusters - 1 degrees of freedom.

    Where models have one checkpoint each there is nothing to cluster: these are then the errors HC1, and the degrees
    of freedom are the residual ones, of which there are fewer.

    Source: Liang & Zeger 1986; Cameron & Miller 2015. `statsmodels`, cov_type cluster.
    """
    fit = OLS(design.y, design.x).fit()
    if why := few_models(design):
        return no_fit(design, why, fit.params[asked(design)])
    robust = fit.get_robustcov_results("cluster", groups=design.groups, use_t=True, df_correction=True)
    at = asked(design)
    note = f"{design.clusters} models are few: these errors tend to be too small" if design.clusters < FEW else ""
    df = min(design.clusters - 1, len(design.y) - design.x.shape[1])
    return t_fit(robust.params[at], robust.bse[at], df, alpha, join_notes(note, one_row_each(design)))


def fit_cr2(design: Design, alpha: float) -> Fit:
    """OLS with bias-reduced cluster errors (CR2) and Satterthwaite degrees of freedom for each coefficient.

    The working model is that of OLS: independent errors of one variance, under which CR2 is unbiased. With
    H_g = X_g (X'X)^-1 X_g' = U S^2 U' of a cluster g, (I - H_g)^(-1/2) = I + U (1 / sqrt(1 - S^2) - 1) U', so that
    nothing of a cluster's size squared is needed; where 1 - S^2 is 0 its inverse is taken as 0 (Moore-Penrose).

    Source: Bell & McCaffrey 2002; Imbens & Kolesar 2016; Pustejovsky & Tipton 2018 (equations 6, 10 and 11).
    """
    x, y = design.x, design.y
    bread = np.linalg.inv(x.T @ x)
    beta = bread @ (x.T @ y)
    at = asked(design)
    if why := few_models(design):
        return no_fit(design, why, beta[at])
    residuals = y - x @ beta
    half: Array = np.asarray(np.linalg.cholesky(bread), dtype="float64")
    count, contrasts = design.clusters, bread[at]  # (effects, columns)
    scores = np.empty((count, contrasts.shape[0]))  # c'(X'X)^-1 X_g' A_g e_g
    reach: Array = np.empty((count, contrasts.shape[0], x.shape[1]))  # X_g' w_g with w_g = A_g X_g (X'X)^-1 c
    length: Array = np.empty(scores.shape)  # w_g' w_g
    for g in range(count):
        rows = design.groups == g
        own = x[rows]
        u, s, _ = np.linalg.svd(own @ half, full_matrices=False)
        left = 1 - s**2
        grow = np.where(left > 1e-10, 1 / np.sqrt(np.where(left > 1e-10, left, 1.0)), 0.0) - 1
        weights = own @ contrasts.T
        weights = weights + u @ (grow[:, None] * (u.T @ weights))
        scores[g] = weights.T @ residuals[rows]
        reach[g] = weights.T @ own
        length[g] = (weights**2).sum(axis=0)
    return t_fit(beta[at], np.sqrt((scores**2).sum(axis=0)), _satterthwaite(reach, length, bread), alpha)


def _satterthwaite(reach: Array, length: Array, bread: Any) -> Array:
    """Degrees of freedom: trace(P)^2 / trace(P P), P_gh = [g = h] w_g'w_g - w_g' X_g (X'X)^-1 X_h' w_h."""
    df = np.empty(reach.shape[1])
    for k in range(len(df)):
        p = np.diag(length[:, k]) - reach[:, k] @ bread @ reach[:, k].T
        df[k] = np.trace(p) ** 2 / (p**2).sum() if (p**2).sum() > 0 else np.nan
    return df
