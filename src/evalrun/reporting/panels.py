"""The report's panels: a task's curves as SVG that follows the page's colours, with the numbers behind each point."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from evalrun.reporting.figures import FAINT, INK, STYLE, Series, panel_figure
from evalrun.reporting.scales import si

_POINTS_PER_INCH = 72  # SVG's unit, so that positions on the figure are positions in the drawing


def panel(
    rows: pd.DataFrame,
    series: Sequence[Series],
    colors: Mapping[str, str],
    salt: str,
    x: str,
    by: str = "model",
    named: bool = False,
) -> dict[str, Any]:
    """Draw one task.

    Args:
        rows: The task's rows of `Prepared.table`.
        series: The study's models, or steps.
        colors: Colour of a series -> what the page calls it.
        salt: Makes ids that are unique in the page.
        x: Column of the horizontal axis.
        by: Column whose values are lines: model, or step for curves over size.
        named: Write each line's name at its end.

    Returns:
        `svg`, the drawing; `points`, JSON for the page's script: width and height of the drawing, and for each series
        (by its position) a list of [across, down, the checkpoint's step (over size: its model), its tokens (its
        parameters), value, standard error or null, items or null, MLflow run or null where several were averaged], in
        order of the axis.
    """
    with mpl.rc_context({**STYLE, "svg.hashsalt": salt}):
        figure = panel_figure(rows, series, x, named, by)
        figure.set_dpi(_POINTS_PER_INCH)
        figure.canvas.draw()  # lays it out
        points = _points(figure, rows, series, x, by)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = json.dumps(points, separators=(",", ":")).replace("<", "\\u003c")  # no run's id ends the script
    return {"svg": _themed(buffer.getvalue(), colors), "points": Markup(text)}


def _points(figure: Figure, rows: pd.DataFrame, series: Sequence[Series], x: str, by: str) -> dict[str, Any]:
    """Where each value is drawn, so that the page can answer a pointer: in units of the SVG, 1/72 inch.

    Args:
        figure: Drawn, its first axes alone.
        rows: Of one task.
        series: The models, or steps, in the order of the lines.
        x: The column across.
        by: The column whose values are lines.
    """
    width, height = figure.get_size_inches() * _POINTS_PER_INCH
    to_figure = figure.axes[0].transData
    lines = []
    groups = dict(list(rows[rows[x] > 0].groupby(by, sort=False)))
    place, amount, unit = ("step", "tokens", "tokens") if by == "model" else ("model", x, "parameters")
    for line in series:
        own = groups.get(line.key, rows.iloc[:0])
        shown = list(dict.fromkeys([x, amount, "value", "stderr", "n"]))
        mean = own.groupby(place, as_index=False)[shown].mean().sort_values(x)
        runs = {key: str(ids.iloc[0]) for key, ids in own.groupby(place)["run_id"] if ids.nunique() == 1}
        at = to_figure.transform(mean[[x, "value"]].to_numpy(dtype="float64")) if len(mean) else np.empty((0, 2))
        lines.append(
            [
                [
                    round(float(across), 1),
                    round(float(height - up), 1),
                    f"step {row['step']:.0f}" if place == "step" else str(row["model"]),
                    f"{si(row[amount])} {unit}",
                    round(float(row["value"]), 4),
                    None if pd.isna(row["stderr"]) else round(float(row["stderr"]), 4),
                    None if pd.isna(row["n"]) else round(row["n"]),
                    runs.get(row[place]),
                ]
                for (across, up), row in zip(at, mean.to_dict("records"), strict=True)
            ]
        )
    return {"w": round(float(width), 1), "h": round(float(height), 1), "lines": lines}


def _themed(text: str, colors: Mapping[str, str]) -> Markup:
    """The drawing with the page's variables for colours, so that it follows the light and the dark scheme."""
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # the same in every panel, and ids must be unique in a page
    text = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', text, count=1)
    for color, variable in {**colors, INK: "var(--ink)", FAINT: "var(--faint)"}.items():
        text = text.replace(color, variable)
    return Markup(text)  # matplotlib has escaped the names in it
