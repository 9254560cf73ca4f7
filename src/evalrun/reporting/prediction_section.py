"""The report's section on values beyond what was evaluated: predictions with their intervals."""

from __future__ import annotations

from typing import Any

import pandas as pd

from evalrun.reporting.effect_words import effect_name
from evalrun.reporting.regression_table import titled
from evalrun.reporting.scales import si
from evalrun.reporting.section_tables import Section, TableCell, interval_cell
from evalrun.statistics.findings import Findings
from evalrun.statistics.regression.interactions import METHODS
from evalrun.statistics.regression.model_frame import PREDICTORS
from evalrun.statistics.row_groups import row_groups

_METHOD = "mixed"


def ahead(study: Findings) -> Section | None:
    """A tenfold of parameters and of training beyond the study, by the mixed model; None where nothing is predicted."""
    found = study.predictions[study.predictions["method"] == _METHOD]
    if not found["value"].notna().any():
        return None
    down = study.table.groupby("task")["higher_is_better"].first()
    axis, rows = effect_name("tokens", study.choice.axis), []
    for task, own in row_groups(found, "task").items():
        by_place = {row["ahead"]: row for row in own}
        notes = {str(row["note"]).removeprefix("no prediction: ") for row in by_place.values() if pd.isna(row["value"])}
        title = titled({**own[0], "higher_is_better": bool(down[task])})
        rows.append(
            [
                TableCell(title),
                *(_cell(by_place[name], axis) for name in PREDICTORS),
                TableCell("; ".join(sorted(notes)), "words"),
            ]
        )
    level = f"{100 * (1 - study.choice.alpha):g} %"
    return Section(
        "What if it goes on?",
        f"An extrapolation, by {METHODS[_METHOD].name}: the value expected of one new model, with the interval that "
        f"holds it in {level} of cases if the plane goes on as it is and the new model differs from it no more than "
        "these models do. Ten times the parameters: of the largest model, at the last training evaluated. Ten times "
        f"the {axis}: at the largest size. Hover for the place. Where a plane does not fit there is no prediction. By "
        "OLS, whose intervals are too narrow where models differ: tables/predictions.csv.",
        ["Task", "ten times the parameters", f"ten times the {axis}", "Why not"],
        rows,
    )


def _cell(row: dict[Any, Any], axis: str) -> TableCell:
    """`0.412 (0.301 to 0.523)`, and where."""
    if pd.isna(row["value"]):
        return TableCell("–", "number not", str(row["note"]))
    place = f"{si(row['size'])} parameters, {si(row['training'])} {axis}"
    return interval_cell(row["value"], row["low"], row["high"], place)
