"""The report's panels: a task's curves as SVG that follows the page's colours, with the numbers behind each point."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from evalrun.reporting.drawing import Drawing
from evalrun.reporting.figures import Series
from evalrun.reporting.line_values import Array, floats, grouped, line_values
from evalrun.reporting.panel_drawing import (
    PanelInk,
    PanelScale,
    draw_axes,
    draw_panel,
    name_across,
    name_lines,
    ranges_of,
)
from evalrun.reporting.scales import si
from evalrun.reporting.small_curves import tile
from evalrun.statistics.tuning.stage_rows import step_names

_PLAIN, _NAMED = (237.6, 151.2), (295.2, 180.0)  # width and height; the second has names beside its lines
_TOP, _BOTTOM, _RIGHT, _NAMES = 4.0, 27.0, 4.0, 36.0  # margins; the last has room for names
_TITLE = 11.0  # room for what the values are
_TICKS = 5


def panel(
    rows: pd.DataFrame,
    series: Sequence[Series],
    colors: Mapping[str, str],
    x: str,
    by: str = "model",
    named: bool = False,
    has_tile: bool = False,
) -> dict[str, Any]:
    """Draw one task.

    Args:
        rows: The task's rows of `Prepared.table`.
        series: The study's models, or steps.
        colors: Colour of a series -> what the page calls it.
        x: Column of the horizontal axis.
        by: Column whose values are lines: model, or step for curves over size.
        named: Write each line's name at its end.
        has_tile: Draw the task as a tile among many, too.

    Returns:
        `svg`, the drawing; `tile`, where it is asked for, the small one; `points`, JSON for the page's script: width
        and height of the drawing, and for each series (by its position) a list of [across, down, the checkpoint's step
        (over size: its model), its tokens (its parameters), value, standard error or null, items or null, MLflow run
        or null where several were averaged], in order of the axis.
    """
    rows = rows[rows[x] > 0]
    lines = line_values(rows, x, by)
    ranges, (width, height) = ranges_of(rows, lines, x), _NAMED if named else _PLAIN
    left, right = ranges.labels_width + (_TITLE if named else 0), width - (_NAMES if named else _RIGHT)
    scale = PanelScale(ranges, left, right, _TOP, height - _BOTTOM)
    ink = PanelInk([colors[line.color] for line in series], "var(--ink)", "var(--faint)")
    sheet = Drawing(width, height)
    draw_axes(sheet, rows, scale, ink, x, by, _TICKS)
    name_across(sheet, rows, scale, ink, x)
    ends = draw_panel(sheet, lines, series, scale, ink)
    if named:
        name_lines(sheet, rows, series, ends, scale, ink)
    points = {"w": round(width, 1), "h": round(height, 1), "lines": _points(scale, rows, series, x, by)}
    text = json.dumps(points, separators=(",", ":"))
    drawn = {"svg": Markup(sheet.svg(alone=False))}
    if has_tile:
        drawn["tile"] = tile(lines, ranges, series, colors)
    return {**drawn, "points": Markup(text.replace("<", "\\u003c"))}  # no run's id ends the script


def _points(
    scale: PanelScale, rows: pd.DataFrame, series: Sequence[Series], x: str, by: str
) -> list[list[tuple[Any, ...]]]:
    """Where each value is drawn, so that the page can answer a pointer: in units of the SVG.

    Args:
        scale: Of the drawing.
        rows: Of one task, with positive values of `x`.
        series: The models, or steps, in the order of the lines.
        x: The column across.
        by: The column whose values are lines.
    """
    lines: dict[Any, list[tuple[Any, ...]]] = {line.key: [] for line in series}
    if rows.empty:
        return list(lines.values())
    place, amount, unit = ("step", "tokens", "tokens") if by == "model" else ("model", x, "parameters")
    if place == "step" and (names := step_names(rows)):
        called = [names.get(key, f"step {key[1]:.0f}") for key in zip(rows["model"], rows["step"], strict=True)]
        rows, place = rows.assign(_called=called), "_called"
    codes, keys = pd.factorize(rows[by])
    places, told_names = pd.factorize(rows[place], sort=True)
    groups = grouped(codes, places)
    runs = rows["run_id"].to_numpy(dtype=object)
    is_one = groups.is_one(pd.factorize(rows["run_id"])[0])
    across, value = groups.mean(floats(rows, x)), groups.mean(floats(rows, "value"))
    owner = groups.first(codes)
    order = np.lexsort((np.arange(len(owner)), across, owner))
    at = np.round(scale.place(across, value), 1)[order]
    told = zip(
        owner[order].tolist(),
        at[:, 0].tolist(),
        at[:, 1].tolist(),
        _told(groups.first(places)[order], lambda code: _named(told_names[code], place)),
        _told(groups.mean(floats(rows, amount))[order], lambda count: f"{si(count)} {unit}"),
        np.round(value[order], 4).tolist(),
        _known(np.round(groups.mean(floats(rows, "stderr"))[order], 4)),
        [round(count) if count else None for count in _known(groups.mean(floats(rows, "n"))[order])],
        np.where(is_one, groups.first(runs), None)[order].tolist(),
        strict=True,
    )
    for code, *point in told:
        if keys[code] in lines:
            lines[keys[code]].append(tuple(point))
    return list(lines.values())


def _named(place: Any, kind: str) -> str:
    return f"step {place:.0f}" if kind == "step" else str(place)


def _told(values: Any, say: Callable[[Any], str]) -> list[str]:
    """Values in words, each different one said once."""
    different, which = np.unique(values, return_inverse=True)
    words = [say(value) for value in different.tolist()]
    return [words[i] for i in which.tolist()]


def _known(values: Array) -> list[float | None]:
    """Values, None for NaN."""
    return [None if value != value else value for value in values.tolist()]
