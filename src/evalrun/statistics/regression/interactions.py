"""Value on model size, training and their interaction, task by task, by the paper's regression and others beside it.

The paper's: Michaelov & Bergen (arXiv:2305.14681v2), Table 1.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from evalrun.core.errors import AnalysisError, suggest
from evalrun.core.stages import stage
from evalrun.statistics.multiplicity import CORRECTIONS, adjusted
from evalrun.statistics.parallel import on_one_core
from evalrun.statistics.regression.bounded import cut_to_possible, fit_quasibinomial, is_proportion
from evalrun.statistics.regression.clustered import fit_cluster, fit_cr2
from evalrun.statistics.regression.correlated import fit_gee, fit_mixed
from evalrun.statistics.regression.estimators import Fit, fit_hc3, fit_ols, no_fit
from evalrun.statistics.regression.model_frame import (
    AXES,
    EFFECTS,
    PARAMS,
    Design,
    RegressionSettings,
    TaskFrame,
    join_notes,
    task_frames,
)
from evalrun.statistics.regression.wild import fit_wild

__all__ = [
    "AXES",
    "CORRECTIONS",
    "EFFECTS",
    "INDEPENDENT",
    "METHODS",
    "PARAMS",
    "RegressionSettings",
    "columns",
    "fit_design",
    "fit_interactions",
]

_ABOUT = ["task", "title", "cause", "method", "effect"]
NUMBERS = ["estimate", "stderr", "t", "df", "p", "low", "high"]
_RAW = ["raw_estimate", "raw_low", "raw_high"]


@dataclass(frozen=True)
class Method:
    """A way to fit and test the regression."""

    name: str  # as the report calls it
    about: str  # what it is, its source, what it takes for granted
    fit: Callable[[Design, RegressionSettings], Fit]


METHODS: dict[str, Method] = {
    "ols": Method(
        "OLS",
        "Ordinary least squares on z-scores, t with residual degrees of freedom (Michaelov & Bergen 2023); takes "
        "checkpoints as independent and equally noisy.",
        lambda design, choice: fit_ols(design, choice.alpha),
    ),
    "hc3": Method(
        "HC3 errors",
        "The same with HC3 errors, which allow unequal variances (MacKinnon & White 1985; Long & Ervin 2000); takes "
        "checkpoints as independent.",
        lambda design, choice: fit_hc3(design, choice.alpha),
    ),
    "cluster": Method(
        "errors clustered by model",
        "OLS with errors clustered by model, small-sample factor CR1, t with models - 1 degrees of freedom "
        "(Liang & Zeger 1986; Cameron & Miller 2015); too small with few models.",
        lambda design, choice: fit_cluster(design, choice.alpha),
    ),
    "cr2": Method(
        "CR2 errors",
        "OLS with bias-reduced errors clustered by model (CR2) and Satterthwaite degrees of freedom (Bell & "
        "McCaffrey 2002; Pustejovsky & Tipton 2018).",
        lambda design, choice: fit_cr2(design, choice.alpha),
    ),
    "wild": Method(
        "the wild cluster bootstrap",
        "OLS tested by the wild cluster bootstrap by model with the null imposed (Cameron, Gelbach & Miller 2008; "
        "Webb 2014), interval by inverting the test.",
        lambda design, choice: fit_wild(design, choice.alpha, choice.draws, choice.seed),
    ),
    "quasibinomial": Method(
        "quasi-binomial regression",
        "Logistic regression weighted by items, dispersion estimated by Pearson's chi-square (McCullagh & "
        "Nelder 1989; Papke & Wooldridge 1996); estimates are log-odds; takes checkpoints as independent.",
        lambda design, choice: fit_quasibinomial(design, choice.alpha),
    ),
    "gee": Method(
        "GEE",
        "Generalised estimating equations by model, exchangeable correlation, bias-reduced errors (Liang & Zeger "
        "1986; Mancl & DeRouen 2001), t with models - 2 degrees of freedom.",
        lambda design, choice: fit_gee(design, choice.alpha),
    ),
    "mixed": Method(
        "the mixed model",
        "Linear mixed model with random intercept and slope over training by model, REML (Laird & Ware 1982; "
        "Bates et al. 2015), t with Satterthwaite degrees of freedom (Kuznetsova et al. 2017).",
        lambda design, choice: fit_mixed(design, choice.alpha),
    ),
}
INDEPENDENT = ("ols", "hc3", "quasibinomial")  # methods that take checkpoints of one model as independent
_PLANE = ("ols", "hc3", "cluster", "cr2", "wild")  # methods whose estimates are those of least squares


def columns(corrections: Sequence[str]) -> list[str]:
    """Columns of what `fit_interactions` returns."""
    numbers = [*NUMBERS, *_RAW, "q", *(f"q_{name}" for name in corrections)]
    return [*_ABOUT, *numbers, "n", "clusters", "axis", "higher_is_better", "note"]


@stage("regression")
@on_one_core()
def fit_interactions(table: pd.DataFrame, choice: RegressionSettings) -> pd.DataFrame:
    """Fit z(value) ~ z(log10 parameters) * z(log10 tokens) in each task, by each method.

    z is centring and division by the sample standard deviation (n - 1) over the task's rows. p-values are two-sided,
    corrected over all tasks and effects of a method at once. Several seeds of a model are several rows of one cluster.

    A task that cannot be fitted as a whole never fails: its numbers are NaN and its `note` says why. With only one
    model size (or only one step) the other predictor is fitted alone, `value ~ tokens` (or `value ~ parameters`), and
    every row of the task says so.

    Args:
        table: Rows of `Prepared.table`: one for each task, model, seed and step.
        choice: Predictors, methods, corrections and level.

    Returns:
        One row for each task, method and effect (parameters, tokens, interaction; the second is that of FLOPs where
        these are the axis), tasks in table order, with the columns of `columns`. estimate, stderr, low and high
        (interval of 1 - alpha) are in standard deviations of the value for each standard deviation of the predictor;
        raw_* are in units of the value for each factor of ten of the predictor (of both, for the interaction), main
        effects at the mean of the other predictor. Both are in log-odds for quasibinomial. df is NaN where p comes
        from no t distribution; q is p after the headline correction, q_<name> after each; n counts the rows fitted,
        clusters the models. Signs are in the metric's own direction, which higher_is_better says: `orientation.turned`
        turns them so that plus is better.

    Raises:
        AnalysisError: When a setting is none of those allowed.

    Source: Michaelov & Bergen 2023, arXiv:2305.14681v2, section 4 and Table 1; for each method METHODS.
    """
    check(choice)
    rows = [row for frame in task_frames(table, choice) for row in _task(frame, choice)]
    return corrected(pd.DataFrame(rows, columns=columns(choice.corrections)), choice)


def check(choice: RegressionSettings) -> None:
    """Refuse settings that are none of those allowed.

    Raises:
        AnalysisError: With the nearest name.
    """
    if choice.params not in PARAMS:
        raise AnalysisError(f"'{choice.params}' is no parameter count to fit with; {suggest(choice.params, PARAMS)}")
    if choice.axis not in AXES:
        raise AnalysisError(f"'{choice.axis}' is no axis to fit along; {suggest(choice.axis, AXES)}")
    if not choice.methods or not choice.corrections:
        raise AnalysisError("analysis.methods and analysis.corrections must each name at least one.")
    for method in choice.methods:
        if method not in METHODS:
            raise AnalysisError(f"'{method}' is no method of regression; {suggest(method, METHODS)}")
    for name in choice.corrections:
        if name not in CORRECTIONS:
            raise AnalysisError(f"'{name}' is no correction for multiple tests; {suggest(name, CORRECTIONS)}")
    if not 0 < choice.alpha < 1:
        raise AnalysisError(f"analysis.alpha must lie between 0 and 1; it is {choice.alpha}.")


def fit_design(design: Design, exact: bool, method: str, choice: RegressionSettings) -> Fit:
    """One method on one design.

    Args:
        design: The rows.
        exact: Whether the values lie on the plane; only quasibinomial, whose plane is another, is then tried.
        method: A key of METHODS.
        choice: Level, draws and seed.
    """
    if exact and method != "quasibinomial":
        estimate = fit_ols(design, choice.alpha).estimate
        return no_fit(design, "the fit is exact: without residuals there is no standard error, t or p", estimate)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # what matters shows in the numbers: NaN, and a note that says why
        return METHODS[method].fit(design, choice)


def corrected(frame: pd.DataFrame, choice: RegressionSettings) -> pd.DataFrame:
    """The frame with q_<name> for every correction, over all tests of each method, and q, the first of them."""
    for _, rows in frame.groupby("method", sort=False):
        tested = rows.index[rows["p"].notna()]
        if len(tested):
            p = frame.loc[tested, "p"].to_numpy(dtype="float64")
            for name in choice.corrections:
                frame.loc[tested, f"q_{name}"] = adjusted(p, name, choice.alpha)
    return frame.assign(q=frame[f"q_{choice.corrections[0]}"])


def _task(frame: TaskFrame, choice: RegressionSettings) -> list[dict[str, Any]]:
    """One task by every method."""
    return [row for method in choice.methods for row in _rows(frame, method, choice)]


def _rows(frame: TaskFrame, method: str, choice: RegressionSettings) -> list[dict[str, Any]]:
    """The three effects of one task by one method."""
    base = {**frame.labels, "method": method, "n": frame.count, "clusters": frame.clusters, "axis": choice.axis}
    numbers: dict[str, dict[str, float]] = {}
    said: dict[str, str] = {}
    if frame.design is not None:
        fit = fit_design(frame.design, frame.exact, method, choice)
        if method in _PLANE and frame.labels["higher_is_better"] and is_proportion(frame.design):
            fit = cut_to_possible(frame.design, fit)
        numbers = _numbers(frame.design, fit)
        said = {effect: fit.said(k) for k, effect in enumerate(frame.design.effects)}
    nothing = dict.fromkeys([*NUMBERS, *_RAW, "q", *(f"q_{name}" for name in choice.corrections)], np.nan)
    return [
        {
            **base,
            "effect": effect,
            **nothing,
            **numbers.get(effect, {}),
            "note": join_notes(frame.notes[effect], said.get(effect, ""), frame.left_out),
        }
        for effect in EFFECTS
    ]


def _numbers(design: Design, fit: Fit) -> dict[str, dict[str, float]]:
    """Numbers by effect, in both units."""
    unit = design.per_ten * (1.0 if fit.log_odds else design.spread)
    raw = {"raw_estimate": fit.estimate * unit, "raw_low": fit.low * unit, "raw_high": fit.high * unit}
    own = {name: getattr(fit, name) for name in NUMBERS}
    return {
        effect: {name: float(values[k]) for name, values in {**own, **raw}.items()}
        for k, effect in enumerate(design.effects)
    }
