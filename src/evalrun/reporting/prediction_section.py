"""The report's section on values beyond what was evaluated: predictions with their intervals."""

from __future__ import annotations

from typing import Any

import pandas as pd

from evalrun.reporting.effect_words import effect_name
from evalrun.reporting.regression_table import titled
from evalrun.reporting.scales import si
from evalrun.reporting.section_tables import Section, TableCell, interval_cell
from evalrun.statistics.findings import Findings
from evalrun.statistics.over_loss.loss_forecasts import METHOD as LOSS
from evalrun.statistics.regression.interactions import METHODS
from evalrun.statistics.regression.model_frame import PREDICTORS
from evalrun.statistics.row_groups import Row, row_groups

_PLANE = "mixed"
_BY = {LOSS: "loss", _PLANE: "plane"}  # method -> what the table calls it


def ahead(study: Findings) -> Section | None:
    """A tenfold of parameters and of training beyond the study; None where nothing is predicted.

    One model answers for each task: two steps by way of loss where these came true for what was left out, else the
    plane of the mixed model.
    """
    found = study.predictions[study.predictions["method"].isin(_BY)]
    if not found["value"].notna().any():
        return None
    down = study.table.groupby("task")["higher_is_better"].first()
    axis, rows = effect_name("tokens", study.choice.axis), []
    for task, every in row_groups(found, "task").items():
        own, method = _answering(every)
        by_place = {row["ahead"]: row for row in own}
        title = titled({**own[0], "higher_is_better": bool(down[task])})
        rows.append(
            [
                TableCell(title),
                *(_cell(by_place[name], axis) for name in PREDICTORS),
                TableCell(_BY[method] if any(pd.notna(row["value"]) for row in own) else "–"),
                TableCell("; ".join(_reasons(every)), "words"),
            ]
        )
    level, plane = f"{100 * (1 - study.choice.alpha):g} %", METHODS[_PLANE].name
    return Section(
        "What if it goes on?",
        f"An extrapolation: the value expected of one new model, with the interval that holds it in {level} of cases "
        f"if the model that predicts it is right. By plane: {plane}, as if the plane goes on and a new model differs "
        "from it no more than these do. By loss, where a loss is given and what was left out came true: size and "
        "tokens give the loss, and that the value. Ten times the parameters: of the largest model, at the last "
        f"training evaluated. Ten times the {axis}: at the largest size. Hover for the place. Where nothing fits there "
        "is no prediction, and the last column says why. By every method, OLS too, whose intervals are too narrow "
        "where models differ: tables/predictions.csv.",
        ["Task", "ten times the parameters", f"ten times the {axis}", "By", "Why not"],
        rows,
    )


def _answering(every: list[Row]) -> tuple[list[Row], str]:
    """The rows of the model that answers for a task, and its name: the first that predicts something."""
    for method in _BY:
        own = [row for row in every if row["method"] == method]
        if any(pd.notna(row["value"]) for row in own):
            return own, method
    method = next(method for method in reversed(_BY) if any(row["method"] == method for row in every))
    return [row for row in every if row["method"] == method], method


def _reasons(every: list[Row]) -> list[str]:
    """Why a model of prediction says nothing, each reason once, with its name where there are several models."""
    several = len({row["method"] for row in every}) > 1
    told = [
        (f"by {_BY[row['method']]}: " if several else "") + str(row["note"]).removeprefix("no prediction: ")
        for row in every
        if pd.isna(row["value"])
    ]
    return list(dict.fromkeys(told))


def _cell(row: dict[Any, Any], axis: str) -> TableCell:
    """`0.412 (0.301 to 0.523)`, and where."""
    if pd.isna(row["value"]):
        return TableCell("–", "number not", str(row["note"]))
    place = f"{si(row['size'])} parameters, {si(row['training'])} {axis}"
    note = f"; {row['note']}" if row["method"] == LOSS and row["note"] else ""
    return interval_cell(row["value"], row["low"], row["high"], place + note)
