"""What a checkpoint that was not evaluated is expected to score: predictions with their intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from evalrun.core.errors import AnalysisError, suggest
from evalrun.statistics.regression.correlated import mixed_prediction
from evalrun.statistics.regression.estimators import Prediction, predict_ols
from evalrun.statistics.regression.model_frame import (
    PREDICTORS,
    Array,
    RegressionSettings,
    TaskFrame,
    join_notes,
    predictors,
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
METHODS = {"mixed": mixed_prediction, "ols": predict_ols}


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
    asked = (place.size, place.training)
    if not all(map(_is_amount, asked)):
        size, training = (f"{one:g}" if isinstance(one, (int, float)) else f"{one!r:.40}" for one in asked)
        raise AnalysisError(
            f"a prediction needs a size and a training above 0, not {size} and {training}: give parameters and tokens "
            "(or FLOPs) as numbers, such as 1e9 and 3e11."
        )
    rows = [_row(frame, place, choice, method) for frame in task_frames(table, choice)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _is_amount(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and 0 < float(value) < math.inf


def _row(frame: TaskFrame, place: Place, choice: RegressionSettings, method: str) -> dict[str, Any]:
    """The prediction of one task."""
    base = {name: frame.labels[name] for name in ("task", "title")}
    base |= {"method": method, "size": place.size, "training": place.training}
    base |= {"n": len(frame.rows), "clusters": frame.clusters}
    if frame.design is None:
        return {**base, "note": next(iter(frame.notes.values()))}
    data = predictors(frame.rows, choice)
    there = pd.Series({"parameters": np.log10(place.size), "tokens": np.log10(place.training)})
    single = [name for name in PREDICTORS if data[name].nunique() < 2]
    if elsewhere := [name for name in single if abs(there[name] - data[name].iloc[0]) > 1e-9]:
        return {**base, "note": f"only one {PREDICTORS[elsewhere[0]]}: nothing is known of another"}
    z = (there - data[list(there.index)].mean()) / data[list(there.index)].std(ddof=1)
    own = {"parameters": z["parameters"], "tokens": z["tokens"], "interaction": z["parameters"] * z["tokens"]}
    found = METHODS[method](frame.design, np.array([1.0, *(own[effect] for effect in frame.design.effects)]))
    beyond = [PREDICTORS[name] for name in PREDICTORS if not data[name].min() <= there[name] <= data[name].max()]
    note = f"beyond what was evaluated ({' and '.join(beyond)})" if beyond else ""
    return {**base, **_numbers(frame, data["value"], found, choice.alpha), "note": join_notes(found.note, note)}


def _numbers(frame: TaskFrame, values: pd.Series[float], found: Prediction, alpha: float) -> dict[str, float]:
    """The prediction in the metric's units."""
    spread, mean = float(values.std(ddof=1)), float(values.mean())
    value, error = mean + spread * found.value, spread * found.stderr
    reach = float(stats.t.ppf(1 - alpha / 2, found.df)) * error
    ends: Array = np.array([value - reach, value + reach])
    if values.between(0, 1).all() and frame.labels["higher_is_better"]:
        ends = np.clip(ends, 0, 1)
    return {"value": value, "low": float(ends[0]), "high": float(ends[1]), "stderr": error, "df": found.df}
