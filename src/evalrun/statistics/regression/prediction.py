"""What a checkpoint that was not evaluated is expected to score: predictions with their intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from evalrun.core.errors import AnalysisError, suggest
from evalrun.core.text import counted
from evalrun.statistics.regression.correlated import mixed_predictions
from evalrun.statistics.regression.estimators import Prediction, predict_ols
from evalrun.statistics.regression.model_frame import (
    AXES,
    PARAMS,
    PREDICTORS,
    Array,
    RegressionSettings,
    TaskFrame,
    is_constant,
    join_notes,
    task_frames,
)

COLUMNS = [
    "task",
    "title",
    "method",
    "size",
    "training",
    "value",
    "low",
    "high",
    "stderr",
    "df",
    "n",
    "clusters",
    "note",
]
AHEAD_COLUMNS = ["task", "title", "ahead", *COLUMNS[2:]]
METHODS = {"mixed": mixed_predictions, "ols": predict_ols}
TENFOLD = 10.0  # how far ahead of what was evaluated
_BENT = ("U-shaped", "inverted-U", "late drop", "emergent", "non-monotonic")  # labels of curves that are no line
_EQUAL = 1e-9  # logarithms that differ by less are one


@dataclass(frozen=True)
class Place:
    """A checkpoint by its predictors."""

    size: float  # parameters, by the count of the settings
    training: float  # tokens, or FLOPs where these are the axis


def predict_values(table: pd.DataFrame, place: Place, choice: RegressionSettings, method: str) -> pd.DataFrame:
    """Predict each task's value of a new model's checkpoint, with the interval that one such value falls into.

    By `ols` the variance is that of the coefficients and of one residual, t with the residual degrees of freedom: right
    where checkpoints are independent. By `mixed` the level and slope by which models differ from each other come to it
    (those of a new model are drawn from the same), t with Satterthwaite degrees of freedom of the whole variance. Noise
    of items is in the residuals, and is taken as that of the evaluated checkpoints.

    Args:
        table: Rows of `Prepared.table`.
        place: Where to predict.
        choice: Predictors and level.
        method: mixed or ols.

    Returns:
        One row for each task, with the columns of `COLUMNS`: value, low, high and stderr are in the metric's units,
        low and high (of 1 - alpha) cut to 0 and 1 where the metric is a share. NaN where there is no prediction, and
        the note says why; it also says where the place lies beyond what was evaluated.

    Raises:
        AnalysisError: another method, or a place that is not positive.

    Source: Seber & Lee 2003, section 5.3 (ols); Kuznetsova et al. 2017 for the degrees of freedom.
    """
    if method not in METHODS:
        raise AnalysisError(f"'{method}' is no method of prediction: {suggest(str(method), METHODS)}")
    check_place(place)
    rows = [row for frame in task_frames(table, choice) for row in _rows(frame, [place], choice, method)]
    return pd.DataFrame(rows, columns=COLUMNS)


def check_place(place: Place) -> None:
    """Refuse a place that is none.

    Raises:
        AnalysisError: its size or training is no number above 0.
    """
    asked = (place.size, place.training)
    if not all(map(_is_amount, asked)):
        size, training = (f"{one:g}" if isinstance(one, (int, float)) else f"{one!r:.40}" for one in asked)
        raise AnalysisError(
            f"a prediction needs a size and a training above 0, not {size} and {training}: give parameters and tokens "
            "(or FLOPs) as numbers, such as 1e9 and 3e11."
        )


def planes_ahead(table: pd.DataFrame, choice: RegressionSettings) -> list[dict[str, Any]]:
    """What the planes say of each task a tenfold beyond what was evaluated, adequate or not: for `predict_ahead`.

    Args:
        table: Rows of `Prepared.table`.
        choice: Predictors, level and methods.

    Returns:
        A row for each task, place and method; none where the mixed model is not among the methods. `why` says what
        forbids a prediction, whatever the curves do; it is empty where nothing does.
    """
    methods = [name for name in METHODS if name in choice.methods]
    if "mixed" not in methods:
        return []
    return [row for one in task_frames(table, choice) for row in _ahead(one, choice, methods)]


def predict_ahead(planes: Sequence[Mapping[str, Any]], diagnostics: pd.DataFrame, shapes: pd.DataFrame) -> pd.DataFrame:
    """Predict each task's value a tenfold beyond what was evaluated: of parameters, and of tokens (or FLOPs).

    The former at the last training of the task's rows, the latter at their largest size. By the mixed model, and by OLS
    beside it, so far as the analysis has them. There is no prediction, and the note says why, where the plane is not
    adequate: squares of the predictors fit better (`diagnostics.diagnose`), half of the task's curves turn or jump
    (`labels.describe_shapes`), the fit is exact, or the plane leads to what no share can be.

    Args:
        planes: What `planes_ahead` returns.
        diagnostics: Of the same table.
        shapes: Of the same table: labels of the curves over training.

    Returns:
        One row for each task, place and method, with the columns of `AHEAD_COLUMNS`, as `predict_values` returns them.
    """
    if not planes:
        return pd.DataFrame(columns=AHEAD_COLUMNS)
    gains = (diagnostics["aic_linear"] - diagnostics["aic_quadratic"]).where(diagnostics["curved"].astype(bool))
    curved = {
        task: f"a plane does not fit, squares of the predictors improve AIC by {gain:.0f}"
        for task, gain in zip(diagnostics["task"], gains, strict=True)
        if not np.isnan(gain)
    }
    bent = {
        task: f"a plane does not fit, {sum(turns)} of {counted(len(turns), 'curve')} turn or jump"
        for task, turns in shapes["label"].isin(_BENT).groupby(shapes["task"])
        if 2 * sum(turns) >= len(turns)
    }
    misfits, told = bent | curved, []
    for row in planes:
        why = misfits.get(row["task"]) or row["why"]
        absent = dict.fromkeys(("value", "low", "high", "stderr", "df"), np.nan)
        told.append({**row, **({**absent, "note": f"no prediction: {why}"} if why else {})})
    return pd.DataFrame(told, columns=AHEAD_COLUMNS)


def with_forecasts(planes: pd.DataFrame, forecasts: pd.DataFrame) -> pd.DataFrame:
    """The planes' predictions and, below them, forecasts by loss, where there are any, with the same columns."""
    there = [frame[AHEAD_COLUMNS] for frame in (planes, forecasts) if not frame.empty]
    return pd.concat([one.astype(object) for one in there], ignore_index=True).infer_objects() if there else planes


def _ahead(frame: TaskFrame, choice: RegressionSettings, methods: list[str]) -> list[dict[str, Any]]:
    """A tenfold of each predictor ahead of one task's rows.

    Args:
        frame: The task.
        choice: Predictors and level.
        methods: Keys of `METHODS`.
    """
    columns = (frame.table[name].to_numpy(dtype="float64") for name in (PARAMS[choice.params], AXES[choice.axis]))
    size, training = (float(column[frame.used].max()) if frame.count else np.nan for column in columns)
    places = {
        "parameters": Place(TENFOLD * size, training),
        "tokens": Place(size, TENFOLD * training),
    }
    told = []
    for method in methods:
        for name, row in zip(places, _rows(frame, list(places.values()), choice, method), strict=True):
            value, why = row.get("value", np.nan), ""
            if frame.exact:
                why = "the fit is exact: nothing tells how far a value may lie from it"
            elif _is_share(frame) and not 0 <= value <= 1 and not np.isnan(value):
                why = f"the plane leads {'below 0' if value < 0 else 'above 1'}, where no share can be"
            told.append({**row, "ahead": name, "why": why})
    return told


def _is_amount(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and 0 < float(value) < math.inf


def _rows(frame: TaskFrame, places: list[Place], choice: RegressionSettings, method: str) -> list[dict[str, Any]]:
    """The predictions of one task: the model is fitted once."""
    base = {name: frame.labels[name] for name in ("task", "title")}
    base |= {"method": method, "n": frame.count, "clusters": frame.clusters}
    told: list[dict[str, Any]] = [{**base, "size": place.size, "training": place.training} for place in places]
    if frame.design is None:
        return [{**row, "note": next(iter(frame.notes.values()))} for row in told]
    known = {name: frame.data[name] for name in PREDICTORS}
    constant = {name for name in PREDICTORS if is_constant(known[name])}
    there = np.log10([[place.size, place.training] for place in places])
    z = {
        name: (at - known[name].mean()) / (1.0 if name in constant else np.std(known[name], ddof=1))
        for name, at in zip(PREDICTORS, there.T, strict=True)
    }
    columns = {**z, "interaction": z["parameters"] * z["tokens"]}
    x = np.column_stack([np.ones(len(places)), *(columns[effect] for effect in frame.design.effects)])
    for row, at, found in zip(told, there, METHODS[method](frame.design, x), strict=True):
        off = {
            name: not known[name].min() - _EQUAL < value < known[name].max() + _EQUAL
            for name, value in zip(PREDICTORS, at, strict=True)
        }
        single = [PREDICTORS[name] for name in PREDICTORS if name in constant and off[name]]
        if single:
            row["note"] = f"only one {single[0]}: nothing is known of another"
            continue
        beyond = [PREDICTORS[name] for name in PREDICTORS if off[name]]
        note = f"beyond what was evaluated ({' and '.join(beyond)})" if beyond else ""
        row |= {**_numbers(frame, found, choice.alpha), "note": join_notes(found.note, note)}
    return told


def _is_share(frame: TaskFrame) -> bool:
    value = frame.data["value"]
    return bool(((value >= 0) & (value <= 1)).all() and frame.labels["higher_is_better"])


def _numbers(frame: TaskFrame, found: Prediction, alpha: float) -> dict[str, float]:
    """The prediction in the metric's units."""
    values = frame.data["value"]
    spread, mean = float(np.std(values, ddof=1)), float(values.mean())
    value, error = mean + spread * found.value, spread * found.stderr
    reach = float(stdtrit(found.df, 1 - alpha / 2)) * error
    ends: Array = np.array([value - reach, value + reach])
    if _is_share(frame):
        ends = np.clip(ends, 0, 1)
    return {"value": value, "low": float(ends[0]), "high": float(ends[1]), "stderr": error, "df": found.df}
