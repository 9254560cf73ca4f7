"""The figure that a paper prints: one panel a task, one line a model (or step), as marks of one drawing."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd

from evalrun.reporting.drawing import Area, Dots, Drawing, Rules, Stroke, Words
from evalrun.reporting.figures import COLUMN, FAINT, INK, PAGE, Series, model_series, step_series, value_name
from evalrun.reporting.line_values import line_values
from evalrun.reporting.panel_drawing import PanelInk, PanelScale, draw_axes, draw_panel, ranges_of
from evalrun.reporting.scales import axis_name

_HIGH = {1: 151.0, 2: 166.0, 3: 122.0, 4: 108.0}  # of a panel with its title and labels, by panels beside each other
_LETTERS = {1: 36, 2: 38, 3: 28, 4: 22}  # of a line of a title
_LEFT, _FOOT, _EDGE, _GAP = 12.0, 16.0, 4.0, 9.0  # room for both axes' names; at the edges; between panels
_RIGHT = 10.0  # room for the half of the last label
_TITLE, _LABELS = 10.0, 13.0  # height of a line of a title, and of the labels of the axis across
_ENTRY, _LETTER, _HANDLE = 11.0, 3.9, 17.0  # height of a line of the legend; width of a letter, of a handle


def drawn_over_training(table: pd.DataFrame, x: str = "tokens") -> Drawing:
    """Each task's values over training, one line a model; as wide as a paper's column for one task, else as both.

    Args:
        table: Rows of `Prepared.table`.
        x: Column of the logarithmic x axis: tokens or flops.
    """
    return _drawn(table, x, "model", model_series(table))


def drawn_over_size(table: pd.DataFrame, x: str) -> Drawing:
    """Each task's values over model size, one line a training step: at most eight.

    Args:
        table: Rows of `Prepared.table`.
        x: Column of the logarithmic x axis: n_params_nominal, n_params or n_params_nonembedding.
    """
    series = step_series(table)
    return _drawn(table[table["step"].isin([line.key for line in series])], x, "step", series)


def _drawn(table: pd.DataFrame, x: str, by: str, series: Sequence[Series]) -> Drawing:
    """Panels up to four beside each other, below one legend.

    Args:
        table: Rows of the tidy table, one metric a task.
        x: The column across.
        by: The column whose values are lines.
        series: Order, names and looks of the lines.
    """
    groups = [(str(task), rows[rows[x] > 0]) for task, rows in table.groupby("task", sort=False)]
    count = len(groups)
    columns = count if count <= 3 else 2 if count == 4 else 3 if count <= 9 else 4
    width = 72 * (COLUMN if columns == 1 else PAGE)
    titles = [_title(task, rows, columns) for task, rows in groups]
    lines = [line_values(rows, x, by) for _, rows in groups]
    ranges = [ranges_of(rows, own, x) for (_, rows), own in zip(groups, lines, strict=True)]
    labels = [max(one.labels_width for one in ranges[column::columns]) for column in range(columns)]
    wide = (width - _LEFT - _EDGE - _RIGHT - sum(labels) - _GAP * (columns - 1)) / columns
    sheet = Drawing(width, 0.0)
    ink = PanelInk([line.color for line in series], INK, FAINT)
    top = _legend(sheet, table, series) + _EDGE
    for first in range(0, count, columns):
        places = range(first, min(first + columns, count))
        headed = _TITLE * max(len(titles[place]) for place in places)
        for place in places:
            column = place - first
            left = _LEFT + _EDGE + sum(labels[: column + 1]) + column * (wide + _GAP)
            floor = top + headed + _HIGH[columns] - _TITLE - _LABELS
            scale = PanelScale(ranges[place], left, left + wide, top + headed + 2, floor)
            for number, words in enumerate(titles[place]):
                down = top + headed - _TITLE * (len(titles[place]) - number) + 7.5
                sheet.words.append(Words(words, left, down, INK, 8, is_bold=True))
            draw_axes(sheet, groups[place][1], scale, ink, x, by, 5 if columns <= 2 else 3)
            draw_panel(sheet, lines[place], series, scale, ink)
        top += headed + _HIGH[columns]
    sheet.height = top - _TITLE + _FOOT
    middle = (_LEFT + labels[0] + width) / 2
    across = f"{axis_name(table, x)} (log scale)"
    sheet.words.append(Words(across, middle, sheet.height - 6, INK, 8, "middle"))
    sheet.words.append(Words(value_name(table), 10, sheet.height / 2, INK, 8, "middle", is_upward=True))
    return sheet


def _title(task: str, rows: pd.DataFrame, columns: int) -> list[str]:
    """In at most two lines."""
    words = str(rows["title"].iloc[0]) if len(rows) else task
    return textwrap.wrap(words, _LETTERS[columns], max_lines=2) or [task]


def _legend(sheet: Drawing, table: pd.DataFrame, series: Sequence[Series]) -> float:
    """Draw the legend at the top: the lines, then what the dashed line and the bands mean; its height."""
    labels = [line.label for line in series]
    has_seeds = bool(table.groupby("model")["seed"].nunique(dropna=False).max() > 1)
    others = ["chance"] if table["chance"].notna().any() else []
    others += ["one seed"] if has_seeds else ["±1 standard error"] if table["stderr"].notna().any() else []
    labels += others
    rows, widths = _columns(labels, sheet.width - 2 * _EDGE)
    begin = max(_EDGE, (sheet.width - sum(widths) + _GAP) / 2)
    for number, label in enumerate(labels):
        left, middle = begin + sum(widths[: number // rows]), _EDGE + (number % rows + 0.5) * _ENTRY
        ends = np.array([(left, middle), (left + _HANDLE, middle)])
        if number < len(series):
            line = series[number]
            dashes = () if line.dashes == "-" else tuple(1.2 * length for length in line.dashes[1])
            sheet.strokes.append(Stroke(ends, line.color, 1.6, dashes))
            sheet.dots.append(Dots(ends.mean(axis=0, keepdims=True), line.color, 3.4))
        elif label == "chance":
            sheet.rules.append(Rules([(left, middle, left + _HANDLE, middle)], FAINT, 0.8, (2.4, 2.0)))
        elif label == "one seed":
            sheet.strokes.append(Stroke(ends, FAINT, 0.5))
        else:
            corners = [(left, middle - 2.5), (left + _HANDLE, middle - 2.5)]
            corners += [(across, middle + 2.5) for across, _ in reversed(corners)]
            sheet.areas.append(Area(np.array(corners), FAINT, 0.3))
        sheet.words.append(Words(label, left + _HANDLE + 5, middle + 2.4, INK))
    return rows * _ENTRY + _EDGE


def _columns(labels: Sequence[str], room: float) -> tuple[int, list[float]]:
    """In how few rows the labels of a legend have room, column by column, and how wide its columns are."""
    wide = [_HANDLE + 5 + _LETTER * len(label) + _GAP for label in labels]
    for rows in range(1, len(wide) + 1):
        widths = [max(wide[begin : begin + rows]) for begin in range(0, len(wide), rows)]
        if sum(widths) - _GAP <= room:
            return rows, widths
    return len(wide), [max(wide)]
