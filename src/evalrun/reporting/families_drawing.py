"""Values against training compute across families, as marks of a drawing: a panel a task, a line a family."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import pandas as pd

from evalrun.core.palette import family_looks
from evalrun.reporting.drawing import Area, Dots, Drawing, Points, Rules, Stroke, Words
from evalrun.reporting.figures import COLUMN, FAINT, INK, PAGE
from evalrun.reporting.line_values import LineValues, floats
from evalrun.reporting.metric_names import value_name
from evalrun.reporting.panel_drawing import PanelInk, PanelScale, draw_axes, ranges_of
from evalrun.reporting.scales import NAMES
from evalrun.reporting.small_multiples import HANDLE, columns_of, lay_out, legend_places, most_ticks, name_axes

_SIZE, _CAP = 3.4, 1.6  # width of a mark, half the width of a bar's end
_CORNERS = {  # of each mark but the disc, in halves of its width, clockwise
    "s": [(-1, -1), (1, -1), (1, 1), (-1, 1)],
    "^": [(0, -1), (1, 1), (-1, 1)],
    "v": [(-1, -1), (1, -1), (0, 1)],
    "D": [(0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)],
    "P": [(-0.4, -1), (0.4, -1), (0.4, -0.4), (1, -0.4), (1, 0.4), (0.4, 0.4), (0.4, 1), (-0.4, 1), (-0.4, 0.4),
          (-1, 0.4), (-1, -0.4), (-0.4, -0.4)],
    "X": [(-1, -0.5), (-0.5, -1), (0, -0.5), (0.5, -1), (1, -0.5), (0.5, 0), (1, 0.5), (0.5, 1), (0, 0.5),
          (-0.5, 1), (-1, 0.5), (-0.5, 0)],
}  # fmt: skip


def drawn_over_compute(points: pd.DataFrame) -> Drawing:
    """Each task's values over training compute, a line a family, with bars of +-1 standard error over items.

    Args:
        points: `families.last_checkpoints`.
    """
    names = [str(name) for name in dict.fromkeys(points["family"])]
    looks = dict(zip(names, family_looks(len(names)), strict=True))
    groups = [rows for _, rows in points.groupby("task", sort=False)]
    lines = [_lines(rows) for rows in groups]
    columns = columns_of(len(groups))
    sheet = Drawing(72 * (COLUMN if columns == 1 else PAGE), 0.0)
    ink = PanelInk([color for color, _ in looks.values()], INK, FAINT)
    top = _legend(sheet, points, looks)
    ranges = [ranges_of(rows, own, "flops") for rows, own in zip(groups, lines, strict=True)]
    scales = lay_out(sheet, [str(rows["title"].iloc[0]) for rows in groups], ranges, top)
    for rows, own, scale in zip(groups, lines, scales, strict=True):
        draw_axes(sheet, rows, scale, ink, "flops", "model", most_ticks(columns))
        for name, line in own.items():
            _draw(sheet, line, scale, *looks[str(name)])
    name_axes(sheet, f"{NAMES['flops']} (log scale)", value_name(points), scales[0].left)
    return sheet


def _lines(rows: pd.DataFrame) -> dict[Hashable, LineValues]:
    """The families of a task, each a line in order of compute, models of the same compute one after the other."""
    found: dict[Hashable, LineValues] = {}
    for name, own in rows.groupby("family", sort=False):
        own = own.sort_values("flops", kind="stable")
        found[str(name)] = LineValues(floats(own, "flops"), floats(own, "value"), floats(own, "stderr"), [])
    return found


def _draw(sheet: Drawing, line: LineValues, scale: PanelScale, color: str, mark: str) -> None:
    """One family: its line, a mark a model, and a bar where a standard error is known."""
    at, error = scale.place(line.x, line.value), np.nan_to_num(line.error)
    low, high = (scale.place(line.x, line.value + sign * error)[:, 1] for sign in (-1, 1))
    bars = [
        end
        for across, down, up, size in zip(at[:, 0].tolist(), low.tolist(), high.tolist(), error.tolist(), strict=True)
        if size > 0
        for end in (
            (across, down, across, up),
            (across - _CAP, down, across + _CAP, down),
            (across - _CAP, up, across + _CAP, up),
        )
    ]
    if bars:
        sheet.rules.append(Rules(bars, color, 0.8))
    sheet.strokes.append(Stroke(at, color))
    _mark(sheet, at, color, mark)


def _mark(sheet: Drawing, at: Points, color: str, mark: str) -> None:
    if mark == "o":
        sheet.dots.append(Dots(at, color, _SIZE))
        return
    corners = np.array(_CORNERS[mark], dtype="float64") * _SIZE / 2
    sheet.areas += [Area(place + corners, color) for place in at]


def _legend(sheet: Drawing, points: pd.DataFrame, looks: dict[str, tuple[str, str]]) -> float:
    """Draw the legend at the top: families, chance, and what the bars are; its height."""
    labels = [*looks, *(["chance"] if points["chance"].notna().any() else [])]
    labels += ["±1 standard error"] if points["stderr"].notna().any() else []
    places, height = legend_places(labels, sheet.width)
    for number, (label, (left, middle)) in enumerate(zip(labels, places, strict=True)):
        if number < len(looks):
            color, mark = looks[label]
            sheet.strokes.append(Stroke(np.array([(left, middle), (left + HANDLE, middle)]), color))
            _mark(sheet, np.array([(left + HANDLE / 2, middle)]), color, mark)
        elif label == "chance":
            sheet.rules.append(Rules([(left, middle, left + HANDLE, middle)], FAINT, 0.8, (2.4, 2.0)))
        else:
            across = left + HANDLE / 2
            sheet.rules.append(Rules([(across, middle - 3, across, middle + 3)], FAINT, 0.8))
        sheet.words.append(Words(label, left + HANDLE + 5, middle + 2.4, INK))
    return height
