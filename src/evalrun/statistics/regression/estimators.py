"""What an estimator returns, and the two that take checkpoints as independent: OLS and HC3."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from evalrun.statistics.regression.model_frame import Array, Design

_LEAST = 1e-10  # standard error of z-scores (or log-odds) below which it is a rounding error


@dataclass(frozen=True)
class Fit:
    """Estimates of the design's effects, each an array (effects,); NaN where there is none, and `note` says why."""

    estimate: Array
    stderr: Array
    t: Array
    df: Array  # NaN where p comes from no t distribution
    p: Array  # two-sided
    low: Array  # interval of 1 - alpha for the estimate
    high: Array
    note: str = ""
    log_odds: bool = False  # estimates are in log-odds, not in standard deviations of the value
    own_notes: tuple[str, ...] = ()  # what is said of single effects in place of the note, "" where that is said

    def said(self, effect: int) -> str:
        """What is to be said of one effect: why it has no test, or else the note."""
        return (self.own_notes[effect] if self.own_notes else "") or self.note


def t_fit(estimate: Array, stderr: Array, df: float | Array, alpha: float, note: str = "") -> Fit:
    """Test and interval by Student's t. Effects whose standard error is 0 or not finite get NaN, and a reason each."""
    df = np.broadcast_to(np.asarray(df, dtype="float64"), estimate.shape)
    reasons = tuple(map(_why_absent, estimate, stderr, df))
    fine = np.isfinite(estimate) & np.isfinite(stderr) & (stderr > _LEAST) & (df > 0)
    error, df = np.where(fine, stderr, np.nan), np.where(fine, df, np.nan)
    t = estimate / error
    # What scipy.stats.t computes, whose way there takes twenty times as long: every test of a study comes by here.
    reach = special.stdtrit(df, 1 - alpha / 2) * error
    p = special.stdtr(df, -np.abs(t)) * 2
    own = reasons if any(reasons) else ()
    return Fit(estimate, error, t, df, p, estimate - reach, estimate + reach, note, own_notes=own)


def _why_absent(estimate: float, stderr: float, df: float) -> str:
    """Why an effect cannot be tested; empty where it can."""
    if not np.isfinite(estimate):
        return "no estimate: the fit has no solution"
    if df <= 0:
        return f"no test: {df:.0f} degrees of freedom"
    if not np.isfinite(stderr):
        return "no standard error: it cannot be computed from these rows"
    if stderr <= _LEAST:
        return "no standard error: the residuals that would give it cancel or are all 0"
    return "" if np.isfinite(df) else "no test: the degrees of freedom cannot be estimated from these rows"


def no_fit(design: Design, note: str, estimate: Array | None = None) -> Fit:
    """Only the note, and the estimate where there is one."""
    nothing = np.full(len(design.effects), np.nan)
    estimate = nothing if estimate is None else estimate
    return Fit(estimate, nothing, nothing, nothing, nothing, nothing, nothing, note)


def asked(design: Design) -> slice:
    """Where the effects are among the coefficients."""
    return slice(1, 1 + len(design.effects))


@dataclass(frozen=True)
class Plane:
    """Ordinary least squares: the coefficients, by the pseudo-inverse, and what they leave over."""

    estimate: Array  # (columns,)
    residuals: Array  # (rows,)
    variance: np.float64  # of the residuals; infinite or NaN without degrees of freedom
    df: int

    @classmethod
    def of(cls, design: Design) -> Plane:
        """Fit the plane to the rows of a design."""
        estimate = design.geometry.pinv @ design.y
        residuals = design.y - design.x @ estimate
        df = len(design.y) - design.geometry.rank
        with np.errstate(divide="ignore", invalid="ignore"):
            return cls(estimate, residuals, np.float64(residuals @ residuals) / df, df)


def fit_ols(design: Design, alpha: float) -> Fit:
    """Ordinary least squares; t with the residual degrees of freedom. `statsmodels.OLS` gives the same numbers."""
    fit, at = Plane.of(design), asked(design)
    errors = np.sqrt(fit.variance * np.diag(design.geometry.bread))
    return t_fit(fit.estimate[at], errors[at], fit.df, alpha)


def fit_hc3(design: Design, alpha: float) -> Fit:
    """OLS with errors that allow unequal variances: HC3, t with the residual degrees of freedom.

    Source: MacKinnon & White 1985; for small samples Long & Ervin 2000. `statsmodels`, cov_type HC3, gives the same
    numbers.
    """
    fit, at = Plane.of(design), asked(design)
    left = 1 - design.geometry.leverage
    if (left < 1e-10).any():
        return no_fit(design, "a checkpoint alone decides a coefficient: HC3 is undefined", fit.estimate[at])
    errors = np.sqrt(((design.geometry.pinv * (fit.residuals / left)) ** 2).sum(axis=1))
    return t_fit(fit.estimate[at], errors[at], fit.df, alpha)


@dataclass(frozen=True)
class Prediction:
    """Of one value that was not measured, in z-scores; NaN where there is none, and the note says why."""

    value: float
    stderr: float  # of the prediction and of the value itself
    df: float
    note: str = ""


def predict_ols(design: Design, x: Array) -> list[Prediction]:
    """The values of more rows, each with the variance of the coefficients and of its residual.

    `statsmodels.OLS`, get_prediction, gives the same numbers.

    Args:
        design: The rows that were measured.
        x: (rows, columns) predictors of the new ones.
    """
    fit = Plane.of(design)
    errors = np.sqrt(fit.variance * (((x @ design.geometry.bread) * x).sum(axis=1) + 1))
    found = zip(x @ fit.estimate, errors, strict=True)
    return [Prediction(float(value), float(error), float(fit.df)) for value, error in found]
