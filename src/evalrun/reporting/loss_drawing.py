"""Values over loss, as marks of a drawing: a panel a task, a line a model, and one sigmoid for all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from evalrun.reporting.drawing import Drawing
from evalrun.reporting.figures import INK, Series, model_series
from evalrun.reporting.scales import INVERSE_LOSS
from evalrun.reporting.small_multiples import drawn_panels
from evalrun.statistics.over_loss.fitted_form import SIGMOID, sigmoid

_ALL = "one sigmoid for all"
_POINTS = 60  # of the sigmoid


def drawn_over_loss(points: pd.DataFrame, curves: pd.DataFrame) -> Drawing:
    """Each task's values over loss, one line a model, and dashed the sigmoid that is fitted to all of them.

    Args:
        points: `OverLoss.rows` of the tasks to draw.
        curves: `OverLoss.curves` of the same.
    """
    series = model_series(points)
    rows = points.assign(**{INVERSE_LOSS: 1 / points["loss"]})
    fits = [_sigmoid(rows[rows["task"] == row["task"]], row) for row in curves.to_dict("records")]
    drawn = [one for one in fits if one is not None]
    if drawn:
        rows = pd.concat([rows, *drawn], ignore_index=True)
        series = [*series, Series(_ALL, _ALL, INK, (0, (3, 2)))]
    return drawn_panels(rows, INVERSE_LOSS, "model", series)


def _sigmoid(own: pd.DataFrame, row: Mapping[Any, Any]) -> pd.DataFrame | None:
    """The fitted curve as rows of a model of its own; None where there is no fit."""
    parameters = np.array([row[name] for name in SIGMOID], dtype="float64")
    if own.empty or not np.isfinite(parameters).all():
        return None
    loss = np.geomspace(own["loss"].min(), own["loss"].max(), _POINTS)
    value = sigmoid(parameters, loss[:, None])[0]
    first = own.iloc[[0] * _POINTS].reset_index(drop=True)
    return first.assign(model=_ALL, loss=loss, value=value, stderr=np.nan, inverse_loss=1 / loss)
