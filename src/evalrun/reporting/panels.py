"""The report's panels: a task's curves as SVG that follows the page's colours, with the numbers behind each point."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup

from evalrun.reporting.figures import Series
from evalrun.reporting.panel_svg import PanelScale, draw_panel, scale_of
from evalrun.reporting.scales import si


def panel(
    rows: pd.DataFrame,
    series: Sequence[Series],
    colors: Mapping[str, str],
    x: str,
    by: str = "model",
    named: bool = False,
) -> dict[str, Any]:
    """Draw one task.

    Args:
        rows: The task's rows of `Prepared.table`.
        series: The study's models, or steps.
        colors: Colour of a series -> what the page calls it.
        x: Column of the horizontal axis.
        by: Column whose values are lines: model, or step for curves over size.
        named: Write each line's name at its end.

    Returns:
        `svg`, the drawing; `points`, JSON for the page's script: width and height of the drawing, and for each series
        (by its position) a list of [across, down, the checkpoint's step (over size: its model), its tokens (its
        parameters), value, standard error or null, items or null, MLflow run or null where several were averaged], in
        order of the axis.
    """
    rows = rows[rows[x] > 0]
    curves = rows.groupby([by, x], as_index=False)[["value", "stderr"]].mean()
    scale = scale_of(rows, curves, x, named)
    svg = draw_panel(rows, curves, series, [colors[line.color] for line in series], scale, x, by, named)
    text = json.dumps(_points(scale, rows, series, x, by), separators=(",", ":"))
    return {"svg": Markup(svg), "points": Markup(text.replace("<", "\\u003c"))}  # no run's id ends the script


def _points(scale: PanelScale, rows: pd.DataFrame, series: Sequence[Series], x: str, by: str) -> dict[str, Any]:
    """Where each value is drawn, so that the page can answer a pointer: in units of the SVG.

    Args:
        scale: Of the drawing.
        rows: Of one task, with positive values of `x`.
        series: The models, or steps, in the order of the lines.
        x: The column across.
        by: The column whose values are lines.
    """
    place, amount, unit = ("step", "tokens", "tokens") if by == "model" else ("model", x, "parameters")
    shown = list(dict.fromkeys([x, amount, "value", "stderr", "n"]))
    groups = rows.groupby([by, place])
    mean = groups[shown].mean()
    runs = groups["run_id"].agg(["first", "nunique"])
    mean["run"] = runs["first"].astype(object).where(runs["nunique"] == 1, None)
    mean = mean.reset_index().sort_values([by, x], kind="stable")
    lines: dict[Any, list[list[Any]]] = {line.key: [] for line in series}
    at = scale.place(mean[x], mean["value"]).tolist()
    for (across, down), row in zip(at, mean.to_dict("records"), strict=True):
        if row[by] in lines:
            lines[row[by]].append(
                [
                    round(across, 1),
                    round(down, 1),
                    f"step {row['step']:.0f}" if place == "step" else str(row["model"]),
                    f"{si(row[amount])} {unit}",
                    round(float(row["value"]), 4),
                    None if pd.isna(row["stderr"]) else round(float(row["stderr"]), 4),
                    None if pd.isna(row["n"]) else round(row["n"]),
                    row["run"],
                ]
            )
    return {"w": round(scale.width, 1), "h": round(scale.height, 1), "lines": list(lines.values())}
