"""Two groups of runs over training as marks of a drawing: each task’s difference in its band, or both curves."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import pandas as pd

from evalrun.core.palette import family_looks
from evalrun.reporting.drawing import Area, Dots, Drawing, Points, Rules, Stroke, Words
from evalrun.reporting.figures import COLUMN, FAINT, INK, PAGE
from evalrun.reporting.line_values import LineValues, floats
from evalrun.reporting.metric_names import value_name
from evalrun.reporting.panel_drawing import PanelInk, PanelScale, draw_axes, ranges_of
from evalrun.reporting.scales import INVERSE_LOSS, NAMES
from evalrun.reporting.small_multiples import HANDLE, columns_of, lay_out, legend_places, most_ticks, name_axes

_BAND, _BY_ITEMS = 0.18, 0.30  # opacity
_ACROSS = {"tokens": "tokens", "flops": "flops", "loss": INVERSE_LOSS}  # what is matched -> column of the axis


def drawn_difference(points: pd.DataFrame, at: str) -> Drawing:
    """B - A of each task over training in its band, with the point from which on it is decided.

    Args:
        points: `run_tables.point_rows`.
        at: tokens, flops or loss.
    """
    color = family_looks(1)[0][0]
    has_items = bool((points["item_high"] - points["item_low"] < points["high"] - points["low"]).any())
    labels = ["B − A", "band for all points and tasks"]
    labels += ["by items alone: these very runs"] if has_items else []
    labels += ["decided from here on"] if _decided(points) else []
    sheet, parts = _sheet(points, at, labels, "Difference, B − A")
    for rows, scale in parts:
        x = floats(rows, _ACROSS[at])
        bands = [("low", "high", _BAND), *([("item_low", "item_high", _BY_ITEMS)] if has_items else [])]
        for low, high, opacity in bands:
            down, up = (scale.place(x, _inside(floats(rows, name), scale)) for name in (low, high))
            sheet.areas.append(Area(np.concatenate([down, up[::-1]]), color, opacity))
        _line(sheet, scale.place(x, floats(rows, "difference")), color)
        since = _decided(rows)
        for place in since:
            across = float(scale.place([x[place]], [0.0])[0, 0])
            sheet.rules.append(Rules([(across, scale.top, across, scale.floor)], INK, 0.8, (0.8, 1.6)))
    places, _ = legend_places(labels, sheet.width)
    for label, (left, middle) in zip(labels, places, strict=True):
        ends = np.array([(left, middle), (left + HANDLE, middle)])
        if label == labels[0]:
            _line(sheet, ends, color, ends.mean(axis=0, keepdims=True))
        elif label.startswith("decided"):
            sheet.rules.append(
                Rules([(left + HANDLE / 2, middle - 4, left + HANDLE / 2, middle + 4)], INK, 0.8, (0.8, 1.6))
            )
        else:
            corners = [(x, middle + y) for x, y in ((left, -3), (left + HANDLE, -3), (left + HANDLE, 3), (left, 3))]
            sheet.areas.append(Area(np.array(corners), color, _BY_ITEMS if label.startswith("by") else _BAND))
    return sheet


def drawn_groups(points: pd.DataFrame, at: str, labels: Sequence[str]) -> Drawing:
    """A and B of each task over training, the means of their runs.

    Args:
        points: As above.
        at: As above.
        labels: What A and B are called.
    """
    looks = family_looks(2)
    names = [f"{letter}  {label}" for letter, label in zip("AB", labels, strict=True)]
    sheet, parts = _sheet(points, at, names, value_name(points), ("a", "b"))
    for rows, scale in parts:
        for column, (color, _) in zip(("a", "b"), looks, strict=True):
            _line(sheet, scale.place(floats(rows, _ACROSS[at]), floats(rows, column)), color)
    places, _ = legend_places(names, sheet.width)
    for (color, _), (left, middle) in zip(looks, places, strict=True):
        ends = np.array([(left, middle), (left + HANDLE, middle)])
        _line(sheet, ends, color, ends.mean(axis=0, keepdims=True))
    return sheet


def _decided(points: pd.DataFrame) -> list[int]:
    """The place in a task's rows from which on its band stays on one side, if it ends there; of any task of several."""
    found = []
    for _, rows in points.groupby("task", sort=False):
        side = floats(rows, "side")
        if side[-1] != 0:
            other = np.flatnonzero(side != side[-1])
            found.append(int(other[-1]) + 1 if len(other) else 0)
    return found


def _sheet(
    points: pd.DataFrame, at: str, labels: Sequence[str], values: str, columns: Sequence[str] = ()
) -> tuple[Drawing, list[tuple[pd.DataFrame, PanelScale]]]:
    """A sheet with a panel for each task, its axes drawn, the words of its legend written.

    Args:
        points: Rows of all tasks.
        at: What is matched.
        labels: Of the legend.
        values: What the axis up is.
        columns: What is shown; none for the difference, whose zero is marked.
    """
    rows = points.assign(chance=np.nan if columns else 0.0, stderr=np.nan, value=points["difference"])
    rows[_ACROSS[at]] = 1 / points["x"] if at == "loss" else points["x"]
    groups = [own for _, own in rows.groupby("task", sort=False)]
    beside = columns_of(len(groups))
    sheet = Drawing(72 * (COLUMN if beside == 1 else PAGE), 0.0)
    ink = PanelInk([], INK, FAINT)
    across = _ACROSS[at]
    ranges = []
    for own in groups:
        lines: dict[Hashable, LineValues] = {}
        shown = own if not columns else own.assign(value=own[columns[0]])
        for column in columns:
            lines[column] = LineValues(floats(own, across), floats(own, column), np.zeros(len(own)), [])
        if not columns:
            # A band as wide as the metric itself would flatten the curve that it is about: it is cut at the edge.
            most = 8 * float(np.abs(floats(own, "difference")).max()) + 0.1 * _unit(own)
            for name in ("low", "high"):  # a band of shares ends at one, on one side before the other
                reach = np.clip(floats(own, name) - floats(own, "difference"), -most, most)
                edge = floats(own, "difference") + reach
                lines[name] = LineValues(floats(own, across), edge, np.zeros(len(own)), [])
        ranges.append(ranges_of(shown, lines, across))
    places, top = legend_places(labels, sheet.width)
    for label, (left, middle) in zip(labels, places, strict=True):
        sheet.words.append(Words(label, left + HANDLE + 5, middle + 2.4, INK))
    scales = lay_out(sheet, [str(own["title"].iloc[0]) for own in groups], ranges, top)
    for own, scale in zip(groups, scales, strict=True):
        draw_axes(sheet, own, scale, ink, across, "model", most_ticks(beside))
    name_axes(sheet, NAMES[across] + ("" if at == "loss" else " (log scale)"), values, scales[0].left)
    return sheet, list(zip(groups, scales, strict=True))


def _unit(rows: pd.DataFrame) -> float:
    return float(np.abs(floats(rows, "a")).max()) or 1.0


def _inside(values: np.ndarray[tuple[int], np.dtype[np.float64]], scale: PanelScale) -> Sequence[float]:
    """Values cut at the panel's edges."""
    found: list[float] = np.clip(values, *scale.ranges.up).tolist()
    return found


def _line(sheet: Drawing, at: Points, color: str, dots: Points | None = None) -> None:
    sheet.strokes.append(Stroke(at, color, 1.4))
    sheet.dots.append(Dots(at if dots is None else dots, color, 3.0))
