"""Whether the regression's assumptions hold, task by task: what a referee would look at first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtr

from evalrun.core.stages import stage
from evalrun.statistics.parallel import on_one_core
from evalrun.statistics.regression.bounded import logistic
from evalrun.statistics.regression.clustered import FEW
from evalrun.statistics.regression.estimators import Plane
from evalrun.statistics.regression.interactions import INDEPENDENT, check, fit_design
from evalrun.statistics.regression.model_frame import (
    Array,
    Design,
    RegressionSettings,
    TaskFrame,
    task_frames,
)
from evalrun.statistics.table import checkpoint_name

COLUMNS = [
    *("task", "title", "autocorrelation", "autocorrelation_p", "dispersion", "influence", "influence_at"),
    *("aic_linear", "aic_quadratic", "curved", "influence_model", "influence_flips", "warnings"),
]
_CURVED = 10.0  # AIC by which squares must improve the fit (Burnham & Anderson 2002, section 2.6)


@dataclass(frozen=True)
class _Influence:
    """What the most influential checkpoint and model do."""

    distance: float  # largest Cook's distance
    at: str
    model: str  # the model without which the coefficients change most
    flips: tuple[str, ...]  # effects whose p crosses alpha without it


@stage("diagnostics")
@on_one_core()
def diagnose(table: pd.DataFrame, choice: RegressionSettings) -> pd.DataFrame:
    """Look at each task's regression.

    - autocorrelation: correlation of the OLS residuals of neighbouring checkpoints, over all pairs of checkpoints
      that follow one another within a run (model and seed, ordered by tokens), the mean of all residuals (0) taken
      off: sum of products over the root of the product of the sums of squares. autocorrelation_p: two-sided, from
      z = r sqrt(pairs), standard normal where residuals are independent (Box & Pierce 1970 for one lag). A model
      that lies above the plane as a whole counts as correlated too.
    - dispersion: Pearson's chi-square of the logistic regression of the item counts over its residual degrees of
      freedom, 1 if items were the only chance; NaN where the value is no proportion of a known number of items.
    - influence: largest Cook's distance (Cook 1977), at the checkpoint influence_at. influence_model: the model
      without whose rows the coefficients change most in the same measure; influence_flips: whether its absence moves
      the p (uncorrected) of an effect of the headline method across alpha, the z-scores kept as they were.
    - aic_linear, aic_quadratic: Akaike's criterion of the OLS fit without and with the squares of the predictors;
      curved: the latter is smaller by more than 10.
    - warnings: in plain words, where an assumption of the headline method fails; empty when none is seen to.

    Args:
        table: Rows of `Prepared.table`.
        choice: Predictors, level, and methods: the first is the headline.

    Returns:
        One row a task, in table order, with the columns of `COLUMNS`; NaN (and False) where nothing can be fitted.

    Raises:
        AnalysisError: When a setting is none of those allowed.
    """
    check(choice)
    return pd.DataFrame([_task(frame, choice) for frame in task_frames(table, choice)], columns=COLUMNS)


def _task(frame: TaskFrame, choice: RegressionSettings) -> dict[str, Any]:
    """One task's row: autocorrelation, dispersion, influence, curvature, and what these warn of."""
    row: dict[str, Any] = {
        **{name: frame.labels[name] for name in ("task", "title")},
        **dict.fromkeys(("autocorrelation", "autocorrelation_p", "dispersion"), np.nan),
        **dict.fromkeys(("influence", "aic_linear", "aic_quadratic"), np.nan),
        **dict.fromkeys(("influence_at", "influence_model"), ""),
        "curved": False,
        "influence_flips": False,
    }
    design = frame.design
    if design is None or frame.exact:
        why = "the fit is exact" if frame.exact else next(iter(frame.notes.values()))
        return {**row, "warnings": f"not looked at: {why}"}
    plane = Plane.of(design)
    r, p = _autocorrelation(frame, plane)
    linear, quadratic = _aics(design, plane)
    influence = _influence(frame, plane, choice)
    row |= {
        "autocorrelation": r,
        "autocorrelation_p": p,
        "dispersion": _dispersion(design),
        "influence": influence.distance,
        "influence_at": influence.at,
        "influence_model": influence.model,
        "influence_flips": bool(influence.flips),
        "aic_linear": linear,
        "aic_quadratic": quadratic,
        "curved": linear - quadratic > _CURVED,
    }
    return {**row, "warnings": "; ".join(_warnings(row, influence, design, choice))}


def _warnings(row: dict[str, Any], influence: _Influence, design: Design, choice: RegressionSettings) -> list[str]:
    """Sentences on what makes the headline method's errors or its line doubtful."""
    method, told = choice.methods[0], []
    if method in INDEPENDENT and row["autocorrelation_p"] < choice.alpha and row["autocorrelation"] > 0:
        r = f"{row['autocorrelation']:.2f}"
        told.append(f"residuals of neighbouring checkpoints correlate ({r}), and {method} takes them as independent")
    if method == "cluster" and design.clusters < FEW:
        told.append(f"{design.clusters} models are few: cluster errors tend to be too small")
    if row["curved"]:
        gain = row["aic_linear"] - row["aic_quadratic"]
        told.append(f"curved: squares of the predictors improve AIC by {gain:.0f}")
    if influence.flips:
        told.append(
            f"without {influence.model} the uncorrected p of {' and '.join(influence.flips)} crosses {choice.alpha:g}"
        )
    return told


def _autocorrelation(frame: TaskFrame, plane: Plane) -> tuple[float, float]:
    """Correlation of residuals of neighbouring checkpoints, and its two-sided p (r times sqrt(pairs) as normal).

    Args:
        frame: The rows, which say run and tokens.
        plane: The regression.

    Returns:
        NaN twice where no residual has a neighbour or they are 0.
    """
    rows = frame.table[["suite", "model", "seed", "tokens"]].iloc[frame.used]
    run = rows.groupby(["suite", "model", "seed"], dropna=False, sort=False, observed=True).ngroup().to_numpy()
    order = np.lexsort((rows["tokens"].to_numpy(), run))
    run, residual = run[order], plane.residuals[order]
    follows = run[1:] == run[:-1]
    before, after = residual[:-1][follows], residual[1:][follows]
    size = float(np.sqrt((before @ before) * (after @ after)))
    if size == 0:
        return np.nan, np.nan
    r = float(before @ after) / size
    return r, float(2 * ndtr(-abs(r) * np.sqrt(len(before))))


def _dispersion(design: Design) -> float:
    known = bool((design.items > 0).all())
    fit = logistic(design)[0] if known else None
    return np.nan if fit is None else float(fit.scale)


def _aics(design: Design, plane: Plane) -> tuple[float, float]:
    """Akaike's criterion without and with the squares of the predictors; NaN where these are not free.

    Args:
        design: The regression.
        plane: Its fit.
    """
    names = [k + 1 for k, name in enumerate(design.effects) if name != "interaction"]
    squares = np.column_stack([design.x, design.x[:, names] ** 2])
    linear = _aic(plane.residuals, design.geometry.rank)
    if len(squares) <= squares.shape[1] or np.linalg.matrix_rank(squares) < squares.shape[1]:
        return linear, np.nan
    left = design.y - squares @ np.linalg.lstsq(squares, design.y, rcond=None)[0]
    return linear, _aic(left, squares.shape[1])


def _aic(residuals: Array, coefficients: int) -> float:
    """By the likelihood of normal errors at their maximum (`statsmodels.OLS`)."""
    count = len(residuals)
    return float(count * (np.log(2 * np.pi * (residuals @ residuals) / count) + 1) + 2 * coefficients)


def _influence(frame: TaskFrame, plane: Plane, choice: RegressionSettings) -> _Influence:
    """The checkpoint with the largest Cook's distance, and the model without which a significance changes.

    Args:
        frame: The rows and the regression's design.
        plane: Its fit.
        choice: Headline method and level.
    """
    design = frame.design
    assert design is not None  # what has none is not looked at
    leverage = design.geometry.leverage
    with np.errstate(all="ignore"):  # a row that alone decides a coefficient has no distance
        share = leverage / (1 - leverage) ** 2 / (plane.variance * design.x.shape[1])
        cooks = np.nan_to_num(plane.residuals**2 * share, nan=-np.inf, posinf=-np.inf)
    at = int(np.argmax(cooks))
    distance = float(cooks[at]) if np.isfinite(cooks[at]) else np.nan
    name = checkpoint_name(frame.table.iloc[frame.used[at]].to_dict()) if np.isfinite(distance) else ""
    shifts = _shifts(design, plane.estimate)
    if not np.isfinite(shifts).any():
        return _Influence(distance, name, "", ())
    most = int(np.nanargmax(shifts))
    rest = design.keep(design.groups != most)
    whole, less = (fit_design(each, False, choice.methods[0], choice).p for each in (design, rest))
    both = np.isfinite(whole) & np.isfinite(less)
    crossed = both & ((whole < choice.alpha) != (less < choice.alpha))
    flips = tuple(effect for effect, crosses in zip(design.effects, crossed, strict=True) if crosses)
    model = str(frame.table["model"].iloc[frame.used[int(np.argmax(design.groups == most))]])
    return _Influence(distance, name, model, flips)


def _shifts(design: Design, beta: Array) -> Array:
    """(b - b_g)' X'X (b - b_g) with b_g fitted without model g: Cook's distance up to a factor; NaN without a fit."""
    x, y = design.x, design.y
    own = design.geometry.sums(x, np.column_stack([x, y]))
    rest = np.column_stack([x.T @ x, x.T @ y]) - own
    left = len(y) - np.bincount(design.groups)
    whole = (np.linalg.cond(rest[:, :, :-1]) < 1e12) & (left > x.shape[1])
    shifts = np.full(design.clusters, np.nan)
    if whole.any():
        change = beta - np.linalg.solve(rest[whole][:, :, :-1], rest[whole][:, :, -1:])[:, :, 0]
        shifts[whole] = np.einsum("gi,ij,gj->g", change, x.T @ x, change)
    return shifts
