"""The figure that a paper prints: one panel a task, one line a model (or step), as marks of one drawing."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd

from evalrun.reporting.drawing import Area, Dots, Drawing, Rules, Stroke, Words
from evalrun.reporting.figures import COLUMN, FAINT, INK, PAGE, Series, model_series, step_series
from evalrun.reporting.line_values import line_values
from evalrun.reporting.metric_names import panel_titles, value_name
from evalrun.reporting.panel_drawing import PanelInk, PanelRanges, PanelScale, draw_axes, draw_panel, ranges_of
from evalrun.reporting.scales import axis_name

_HIGH = {1: 151.0, 2: 166.0, 3: 122.0, 4: 108.0}  # of a panel with its title and labels, by panels beside each other
_LETTERS = {1: 36, 2: 38, 3: 28, 4: 22}  # of a line of a title
_LEFT, _FOOT, _EDGE, _GAP = 12.0, 16.0, 4.0, 9.0  # room for both axes' names; at the edges; between panels
_RIGHT = 10.0  # room for the half of the last label
_TITLE, _LABELS = 10.0, 13.0  # height of a line of a title, and of the labels of the axis across
_ENTRY, _LETTER, HANDLE = 11.0, 3.9, 17.0  # height of a line of the legend; width of a letter, of a handle


def drawn_over_training(table: pd.DataFrame, x: str = "tokens") -> Drawing:
    """Each task's values over training, one line a model; as wide as a paper's column for one task, else as both.

    Args:
        table: Rows of `Prepared.table`.
        x: Column of the logarithmic x axis: tokens or flops.
    """
    return drawn_panels(table, x, "model", model_series(table))


def drawn_over_size(table: pd.DataFrame, x: str) -> Drawing:
    """Each task's values over model size, one line a training step: at most eight.

    Args:
        table: Rows of `Prepared.table`.
        x: Column of the logarithmic x axis: n_params_nominal, n_params or n_params_nonembedding.
    """
    series = step_series(table)
    return drawn_panels(table[table["step"].isin([line.key for line in series])], x, "step", series)


def drawn_panels(table: pd.DataFrame, x: str, by: str, series: Sequence[Series]) -> Drawing:
    """Panels up to four beside each other, below one legend.

    Args:
        table: Rows of the tidy table, one metric a task.
        x: The column across.
        by: The column whose values are lines.
        series: Order, names and looks of the lines.
    """
    groups = [(str(task), rows[rows[x] > 0]) for task, rows in table.groupby("task", sort=False)]
    columns = columns_of(len(groups))
    lines = [line_values(rows, x, by) for _, rows in groups]
    ranges = [ranges_of(rows, own, x) for (_, rows), own in zip(groups, lines, strict=True)]
    ink = PanelInk([line.color for line in series], INK, FAINT)
    sheet = Drawing(72 * (COLUMN if columns == 1 else PAGE), 0.0)
    top = _legend(sheet, table, series)
    titles = panel_titles(table, groups)
    scales = lay_out(sheet, titles, ranges, top)
    for (_, rows), own, scale in zip(groups, lines, scales, strict=True):
        draw_axes(sheet, rows, scale, ink, x, by, most_ticks(columns))
        draw_panel(sheet, own, series, scale, ink)
    name_axes(sheet, f"{axis_name(table, x)} (log scale)", value_name(table), scales[0].left)
    return sheet


def columns_of(panels: int) -> int:
    """How many panels stand beside each other."""
    return panels if panels <= 3 else 2 if panels == 4 else 3 if panels <= 9 else 4


def most_ticks(columns: int) -> int:
    """About how many labels an axis across has room for."""
    return 5 if columns <= 2 else 3


def lay_out(sheet: Drawing, titles: Sequence[str], ranges: Sequence[PanelRanges], top: float) -> list[PanelScale]:
    """Give panels their places, write their titles, and make the sheet as high as they need.

    Args:
        sheet: Of its width; its height is set.
        titles: A panel each.
        ranges: What each spans.
        top: Where they begin.

    Returns:
        Where values lie in each.
    """
    columns = columns_of(len(titles))
    labels = [max(one.labels_width for one in ranges[column::columns]) for column in range(columns)]
    wide = (sheet.width - _LEFT - _EDGE - _RIGHT - sum(labels) - _GAP * (columns - 1)) / columns
    headings = [textwrap.wrap(title, _LETTERS[columns], max_lines=2) or [title] for title in titles]
    scales = []
    for first in range(0, len(titles), columns):
        places = range(first, min(first + columns, len(titles)))
        headed = _TITLE * max(len(headings[place]) for place in places)
        floor = top + headed + _HIGH[columns] - _TITLE - _LABELS
        for column, place in enumerate(places):
            left = _LEFT + _EDGE + sum(labels[: column + 1]) + column * (wide + _GAP)
            scales.append(PanelScale(ranges[place], left, left + wide, top + headed + 2, floor))
            for number, words in enumerate(headings[place]):
                down = top + headed - _TITLE * (len(headings[place]) - number) + 7.5
                sheet.words.append(Words(words, left, down, INK, 8, is_bold=True))
        top += headed + _HIGH[columns]
    sheet.height = top - _TITLE + _FOOT
    return scales


def name_axes(sheet: Drawing, across: str, values: str, left: float) -> None:
    """Write once what the axes of all panels are, below them and at their left."""
    sheet.words.append(Words(across, (left + sheet.width) / 2, sheet.height - 6, INK, 8, "middle"))
    sheet.words.append(Words(values, 10, sheet.height / 2, INK, 8, "middle", is_upward=True))


def _legend(sheet: Drawing, table: pd.DataFrame, series: Sequence[Series]) -> float:
    """Draw the legend at the top: the lines, then what the dashed line and the bands mean; its height."""
    labels = [line.label for line in series]
    has_seeds = bool(table.groupby("model")["seed"].nunique(dropna=False).max() > 1)
    others = ["chance"] if table["chance"].notna().any() else []
    others += ["one seed"] if has_seeds else ["±1 standard error"] if table["stderr"].notna().any() else []
    labels += others
    places, height = legend_places(labels, sheet.width)
    for number, (label, (left, middle)) in enumerate(zip(labels, places, strict=True)):
        ends = np.array([(left, middle), (left + HANDLE, middle)])
        if number < len(series):
            line = series[number]
            dashes = () if line.dashes == "-" else tuple(1.2 * length for length in line.dashes[1])
            sheet.strokes.append(Stroke(ends, line.color, 1.6, dashes))
            sheet.dots.append(Dots(ends.mean(axis=0, keepdims=True), line.color, 3.4))
        elif label == "chance":
            sheet.rules.append(Rules([(left, middle, left + HANDLE, middle)], FAINT, 0.8, (2.4, 2.0)))
        elif label == "one seed":
            sheet.strokes.append(Stroke(ends, FAINT, 0.5))
        else:
            corners = [(left, middle - 2.5), (left + HANDLE, middle - 2.5)]
            corners += [(across, middle + 2.5) for across, _ in reversed(corners)]
            sheet.areas.append(Area(np.array(corners), FAINT, 0.3))
        sheet.words.append(Words(label, left + HANDLE + 5, middle + 2.4, INK))
    return height


def legend_places(labels: Sequence[str], width: float) -> tuple[list[tuple[float, float]], float]:
    """Where the entries of a legend stand, left and middle, column by column, and how high it is.

    Args:
        labels: What its entries say.
        width: Of the sheet, at whose top it stands.
    """
    rows, widths = _columns(labels, width - 2 * _EDGE)
    begin = max(_EDGE, (width - sum(widths) + _GAP) / 2)
    places = [
        (begin + sum(widths[: number // rows]), _EDGE + (number % rows + 0.5) * _ENTRY) for number in range(len(labels))
    ]
    return places, rows * _ENTRY + 2 * _EDGE


def _columns(labels: Sequence[str], room: float) -> tuple[int, list[float]]:
    """In how few rows the labels of a legend have room, column by column, and how wide its columns are."""
    wide = [HANDLE + 5 + _LETTER * len(label) + _GAP for label in labels]
    for rows in range(1, len(wide) + 1):
        widths = [max(wide[begin : begin + rows]) for begin in range(0, len(wide), rows)]
        if sum(widths) - _GAP <= room:
            return rows, widths
    return len(wide), [max(wide)]
