"""Forecasts by way of loss in the form of the plane's, and the reasons why there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from evalrun.statistics.over_loss.two_steps import TaskPlaces, fit_two_steps, hold_out
from evalrun.statistics.regression.model_frame import AXES, PARAMS, RegressionSettings
from evalrun.statistics.regression.prediction import AHEAD_COLUMNS, COLUMNS, TENFOLD, Place
from evalrun.statistics.shapes.thresholds import smallest_changes

METHOD = "loss"  # as predictions name it
FORECASTS = [*AHEAD_COLUMNS, "loss", "hold_out_error", "reach", "law_sd", "fitted_to"]
_LAW_SD = 0.05  # of ln loss, beyond which the law does not fit


def forecasts_of(
    table: pd.DataFrame, choice: RegressionSettings, smallest_change: float, curves: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Forecast each task a tenfold beyond what was evaluated, of parameters and of tokens, and what was left out.

    Args:
        table: Rows with loss.
        choice: Parameter count, level, draws.
        smallest_change: analysis.smallest_change: a hold-out error beyond it forbids a forecast.
        curves: What is found over loss, a row a task: a task that depends on size given loss has no forecast.

    Returns:
        One row for each task and place with the columns of `FORECASTS`: those of `prediction.predict_ahead`, the loss
        that is expected there, the largest error of the hold-outs, how many times the largest size that was fitted
        these reached, and the law's scatter in ln loss; and `two_steps.hold_out` of each task.
    """
    changes = smallest_changes(table, smallest_change)
    depends = dict(zip(curves["task"], curves["verdict"], strict=True))
    told, held = [], []
    for task, own in table.groupby("task", sort=False):
        base: dict[str, Any] = {name: own[name].iloc[0] for name in ("task", "title")}
        of = TaskPlaces.of(own, PARAMS[choice.params])
        found = hold_out(of, choice.alpha, choice.draws, choice.seed)
        held.append(found.assign(**base))
        places = {
            "parameters": (TENFOLD * float(of.sizes[-1]), float(of.tokens.max())),
            "tokens": (float(of.sizes[-1]), TENFOLD * float(of.tokens.max())),
        }
        rows = forecast(of, list(places.values()), choice, found, float(changes[own.index[0]]), depends.get(task, ""))
        scale = 1.0 if choice.axis == "tokens" else _flops_a_token(own)
        for ahead, row in zip(places, rows, strict=True):
            told.append({**base, "ahead": ahead, **row, "training": row["training"] * scale})
    return (
        pd.DataFrame(told, columns=FORECASTS),
        pd.concat(held, ignore_index=True)[["task", "title", *held[0].columns.drop(["task", "title"])]],
    )


def forecast_at(
    table: pd.DataFrame,
    curves: pd.DataFrame,
    held: pd.DataFrame,
    place: Place,
    choice: RegressionSettings,
    smallest_change: float,
) -> pd.DataFrame:
    """Forecast each task at one place, with the columns of `prediction.predict_values`.

    Args:
        table: Rows with loss.
        curves: What is found over loss, a row a task.
        held: `two_steps.hold_out` of every task.
        place: Parameters and tokens.
        choice: Parameter count, level, draws.
        smallest_change: analysis.smallest_change.
    """
    changes = smallest_changes(table, smallest_change)
    depends, told = dict(zip(curves["task"], curves["verdict"], strict=True)), []
    for task, own in table.groupby("task", sort=False):
        of = TaskPlaces.of(own, PARAMS[choice.params])
        own_held = held[held["task"] == task]
        asked = [(float(place.size), float(place.training))]
        (row,) = forecast(of, asked, choice, own_held, float(changes[own.index[0]]), depends[task])
        told.append({"task": task, "title": own["title"].iloc[0], **row})
    return pd.DataFrame(told, columns=COLUMNS)


def _flops_a_token(own: pd.DataFrame) -> float:
    last = own.iloc[int(own["tokens"].argmax())]
    return float(last[AXES["flops"]] / last["tokens"])


def forecast(
    of: TaskPlaces,
    places: list[tuple[float, float]],
    choice: RegressionSettings,
    found: pd.DataFrame,
    change: float,
    verdict: str,
) -> list[dict[str, Any]]:
    """The forecasts of one task at some places; where there is none, the note says why.

    Args:
        of: The task's checkpoints.
        places: Parameters and tokens of each.
        choice: Level and draws.
        found: `two_steps.hold_out` of the task.
        change: The largest error that is let pass, in units of the metric.
        verdict: Whether the task depends on size given loss.
    """
    fitted = fit_two_steps(of)
    reach = _reach(of, found)
    base: dict[str, Any] = {"method": METHOD, "n": len(of.value), "clusters": len(of.sizes), "reach": reach}
    if not found.empty:
        base["hold_out_error"] = float(found["error"].iloc[int(found["error"].abs().argmax())])
    absent = dict.fromkeys(("value", "low", "high", "loss"), np.nan)
    if isinstance(fitted, str):
        return [{**base, **absent, "size": n, "training": d, "note": f"no prediction: {fitted}"} for n, d in places]
    base |= {"law_sd": fitted.law.sd, "fitted_to": fitted.kind}
    why = _why_not(found, change, verdict, fitted.law.sd, fitted.curve.sd)
    told = []
    for size, tokens in places:
        row = {**base, "size": size, "training": tokens}
        one = fitted.at(size, tokens, choice.alpha, choice.draws, choice.seed)
        note = "" if size / of.sizes[-1] <= reach else f"the hold-out reached {reach:.2g} times the size only"
        numbers = one._asdict() if not why else absent
        told.append({**row, **numbers, "note": f"no prediction: {why}" if why else note})
    return told


def _reach(of: TaskPlaces, found: pd.DataFrame) -> float:
    """How many times the largest size that was fitted the hold-outs reached; 1 where no size was left out."""
    out = found.loc[found["left_out"].str.endswith(("size", "sizes")), "size"]
    return float(out.max() / of.sizes[of.sizes < out.min()].max()) if len(out) else 1.0


def _why_not(found: pd.DataFrame, change: float, verdict: str, law_sd: float, scatter: float) -> str:
    """Why a forecast is not to be believed; empty where nothing speaks against it."""
    if found.empty:
        return "too few checkpoints to leave some out and see whether they are forecast"
    worst = found.iloc[int(found["error"].abs().argmax())]
    if abs(worst["error"]) >= change:
        return f"{worst['left_out']} left out, it is {abs(worst['error']):.3f} off"
    if verdict == "depends on size":
        return "the value depends on size at the same loss"
    if law_sd > _LAW_SD:
        return f"losses lie {law_sd:.1%} around the law of size and tokens"
    if scatter >= change:
        return f"values lie {scatter:.3f} around the sigmoid of loss"
    return ""
