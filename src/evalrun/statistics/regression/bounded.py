"""A regression that knows that an accuracy lies between 0 and 1."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from statsmodels.genmod.families import Binomial
from statsmodels.genmod.generalized_linear_model import GLM
from statsmodels.tools.sm_exceptions import PerfectSeparationError

from evalrun.statistics.regression.estimators import Fit, asked, no_fit, t_fit
from evalrun.statistics.regression.model_frame import Array, Design, join_notes

_CUT = "interval cut at what values between 0 and 1 can show"
_SEPARATED = 100.0  # log-odds for each standard deviation beyond which coefficients are on their way to infinity


def is_proportion(design: Design) -> bool:
    """Whether every value lies between 0 and 1, and is no ratio of sums such as bits per byte."""
    return bool(((design.values >= 0) & (design.values <= 1) & ~(design.items < 0)).all())


def cut_to_possible(design: Design, fit: Fit) -> Fit:
    """The fit with intervals cut where no values of a proportion would take a least-squares coefficient further.

    A coefficient is a weighted sum of the values, and its weights sum to 0: over values between 0 and 1 it cannot
    exceed the sum of its positive weights, nor fall below minus that. An interval for something that cannot leave a
    range keeps its coverage when it is cut to that range. With few degrees of freedom intervals do reach beyond.

    Args:
        design: Of one task, values proportions.
        fit: By a method whose estimand is the least-squares plane.
    """
    weights = design.geometry.pinv[asked(design)]
    most = np.where(weights > 0, weights, 0).sum(axis=1) / design.spread
    beyond = (fit.low < -most) | (fit.high > most)
    if not beyond.any():
        return fit
    why = join_notes(fit.note, _CUT)
    told = tuple(fit.said(k) if not cut else why for k, cut in enumerate(beyond))
    return replace(fit, low=np.maximum(fit.low, -most), high=np.minimum(fit.high, most), own_notes=told)


def item_weights(design: Design) -> tuple[Array, str]:
    """Items of each row; all 1, with a note, where some are unknown."""
    known = np.isfinite(design.items) & (design.items > 0)
    if known.all():
        return design.items, ""
    return np.ones_like(design.items), "number of items unknown: rows weighted equally"


def logistic(design: Design) -> tuple[Any, str]:
    """The fitted `statsmodels.GLM` with its scale from Pearson's chi-square, or None; and a note."""
    if not is_proportion(design):
        why = "ratios of sums" if (design.items < 0).any() else "values outside 0 to 1"
        return None, f"{why}: no proportions"
    weights, note = item_weights(design)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # convergence and separation are looked at below
        try:
            fit = GLM(design.values, design.x, family=Binomial(), var_weights=weights).fit(scale="X2")
        except (ValueError, np.linalg.LinAlgError, PerfectSeparationError):
            return None, "the logistic fit failed"
    if not fit.converged or np.abs(fit.params).max() > _SEPARATED:
        return None, "the logistic fit did not converge: the predictors separate proportions of 0 and 1"
    return fit, note


def fit_quasibinomial(design: Design, alpha: float) -> Fit:
    """Logistic regression of the proportion, weighted by items, with a dispersion estimated by Pearson's chi-square.

    Estimates are log-odds for each standard deviation of the predictor. t has the residual degrees of freedom.

    The chance level is no floor of the link: accuracies below chance are what inverse scaling is about, and a curve
    `chance + (1 - chance) logistic(eta)` cannot pass through them. As an offset, chance would move the intercept alone.

    Source: McCullagh & Nelder 1989, section 4.5; for proportions that are no counts Papke & Wooldridge 1996.
    `statsmodels.GLM`, Binomial, scale X2.
    """
    fit, note = logistic(design)
    if fit is None:
        return replace(no_fit(design, note), log_odds=True)
    at = asked(design)
    if fit.scale <= 1e-12 * np.nanmax(item_weights(design)[0]):
        return replace(no_fit(design, "the fit is exact: no standard error, t or p", fit.params[at]), log_odds=True)
    return replace(t_fit(fit.params[at], fit.bse[at], fit.df_resid, alpha, note), log_odds=True)
