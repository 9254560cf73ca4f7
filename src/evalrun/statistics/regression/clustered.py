"""OLS with errors clustered by model: the checkpoints of one model are one observation that was looked at often."""

from __future__ import annotations

import numpy as np

from evalrun.statistics.regression.estimators import Fit, Plane, asked, no_fit, t_fit
from evalrun.statistics.regression.model_frame import Design, join_notes

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

    Source: Liang & Zeger 1986; Cameron & Miller 2015. `statsmodels`, cov_type cluster, gives the same numbers.
    """
    fit = Plane.of(design)
    at = asked(design)
    if why := few_models(design):
        return no_fit(design, why, fit.estimate[at])
    count, (rows, columns), bread = design.clusters, design.x.shape, design.geometry.bread
    scores = design.geometry.sums(design.x, fit.residuals[:, None])[:, :, 0]  # X_g'e_g
    factor = count / (count - 1) * (rows - 1) / (rows - columns)
    errors = np.sqrt(factor * ((scores @ bread) ** 2).sum(axis=0))
    note = f"{count} models are few: these errors tend to be too small" if count < FEW else ""
    df = min(count - 1, rows - columns)
    return t_fit(fit.estimate[at], errors[at], df, alpha, join_notes(note, one_row_each(design)))


def fit_cr2(design: Design, alpha: float) -> Fit:
    """OLS with bias-reduced cluster errors (CR2) and Satterthwaite degrees of freedom for each coefficient.

    The working model is that of OLS: independent errors of one variance, under which CR2 is unbiased.

    Source: Bell & McCaffrey 2002; Imbens & Kolesar 2016; Pustejovsky & Tipton 2018 (equations 6, 10 and 11).
    """
    geometry, at = design.geometry, asked(design)
    beta = geometry.inverse @ (design.x.T @ design.y)
    if why := few_models(design):
        return no_fit(design, why, beta[at])
    residuals = design.y - design.x @ beta
    scores = geometry.sums(geometry.reduced.weights, residuals[:, None])[:, :, 0]  # c'(X'X)^-1 X_g' A_g e_g
    return t_fit(beta[at], np.sqrt((scores**2).sum(axis=0)), geometry.reduced.df, alpha)
