"""The shapes at a glance: a grid of word-sized curves, each on its label's tint with its label's sign.

Rows have one height, so that a picture keeps its type size whatever its number of rows. Colours are those of Okabe &
Ito (2008), which the common kinds of colour blindness keep apart; the signs say the same in grey.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import to_hex, to_rgb

from evalrun.core.causes import by_cause
from evalrun.reporting.drawing import Area, Drawing, Stroke, Words
from evalrun.reporting.figures import INK, PAGE, common_head
from evalrun.reporting.line_values import Array, floats, grouped
from evalrun.reporting.metric_names import value_name
from evalrun.reporting.scales import si
from evalrun.statistics.regression.model_frame import PARAMS

_LEFT, _RIGHT, _MARGIN = 111.6, 25.9, 5.8  # of a grid, in points
_ROW, _HEAD, _HEADING, _FOOT = 28.8, 21.6, 15.1, 44.6
_MOST, _WIDEST = 14, 72.0  # columns; width of a cell
_NARROWEST = 0.05  # of the value's range shown in a row: level curves must not look like mountains
_SMALL_CAPITAL = 0.36  # height of a letter's middle above its base line, in sizes of the type


@dataclass(frozen=True)
class PanelStyle:
    """How a label is shown."""

    sign: str
    color: str


LOOKS = {
    "positive": PanelStyle("+", "#56B4E9"),
    "emergent": PanelStyle("E", "#0072B2"),
    "inverse": PanelStyle("−", "#D55E00"),
    "late drop": PanelStyle("D", "#E69F00"),
    "U-shaped": PanelStyle("U", "#009E73"),
    "inverted-U": PanelStyle("∩", "#CC79A7"),
    "non-monotonic": PanelStyle("~", "#F0E442"),
    "flat": PanelStyle("=", "#8b949e"),
    "undecided": PanelStyle("?", "#ffffff"),
    "too few points": PanelStyle("…", "#ffffff"),
    "mixed": PanelStyle("M", "#b8a98a"),
}


def training_grid(table: pd.DataFrame, shapes: pd.DataFrame) -> Drawing:
    """Draw tasks (rows, grouped by cause) by models (columns, small to large): each curve over training.

    Args:
        table: Rows of `Prepared.table`.
        shapes: What `describe_shapes` returns for it. A model whose seeds differ in their labels is mixed.

    Returns:
        A drawing, 6.9 inches wide. Of more than 14 models as many are shown, evenly chosen.
    """
    sizes = table.groupby("model")["n_params"].max().reset_index().sort_values(["n_params", "model"])
    models = chosen([str(model) for model in sizes["model"]])
    prefix = common_head(models)
    heads = {model: model[len(prefix) :] for model in models}
    note = f"{value_name(table)} over training tokens (log scale)"
    return _grid(table, _curves(table, ["task", "model", "seed"], "tokens"), shapes, heads, prefix, note)


def size_grid(table: pd.DataFrame, shapes: pd.DataFrame, params: str) -> Drawing:
    """Draw tasks (rows, grouped by cause) by steps (columns): each curve over model size.

    Args:
        table: Rows of `Prepared.table`.
        shapes: What `shapes_over_size` returns for it.
        params: A key of `model_frame.PARAMS`: nominal, total or nonembedding.

    Returns:
        A drawing, 6.9 inches wide. Of more than 14 steps as many are shown, evenly chosen.
    """
    steps = chosen(sorted(table["step"].unique()))
    heads = {step: si(step) for step in steps}
    note = f"{value_name(table)} over model size (log scale)"
    known = table[table[PARAMS[params]] > 0]
    return _grid(known, _curves(known, ["task", "step"], PARAMS[params]), shapes, heads, "training step ", note)


_Curves = dict[tuple[Any, Any], list[tuple[Array, Array]]]  # task and column -> x and values of its curves


def _curves(table: pd.DataFrame, by: list[str], x: str) -> _Curves:
    """The curves of each task and column, several where there are seeds; values of one place are averaged.

    Args:
        table: Rows with positive values of `x`.
        by: The task, the column, and what else tells curves apart.
        x: Column of the axis.
    """
    codes = table.groupby(by, dropna=False, sort=False).ngroup().to_numpy()
    across = floats(table, x)
    groups = grouped(codes, across)
    owner, place, value = groups.first(codes), np.log10(groups.first(across)), groups.mean(floats(table, "value"))
    begin = np.flatnonzero(np.diff(owner, prepend=-1))
    tasks, names = (groups.first(table[name].to_numpy()) for name in by[:2])
    found: _Curves = {}
    for first, last in zip(begin, [*begin[1:], len(owner)], strict=True):
        found.setdefault((tasks[first], names[first]), []).append((place[first:last], value[first:last]))
    return found


@dataclass(frozen=True)
class _Grid:
    """What a grid's rows have in common."""

    curves: _Curves
    labels: dict[Any, str]  # task and column -> label
    columns: list[Any]

    @property
    def wide(self) -> float:
        """Width of a cell."""
        return min((72 * PAGE - _LEFT - _RIGHT) / len(self.columns), _WIDEST)


def _grid(
    table: pd.DataFrame, curves: _Curves, shapes: pd.DataFrame, heads: dict[Any, str], corner: str, note: str
) -> Drawing:
    """Small curves, a row a task and a column a model or step, framed and labelled by their shape.

    Args:
        table: The rows that the curves are of.
        curves: Those to draw.
        shapes: Their labels, with the task and the column's value first.
        heads: Value of the column -> its heading, in order.
        corner: What the rows are.
        note: What a cell shows.
    """
    column = "model" if "model" in shapes.columns else "step"
    labels: dict[Any, str] = {}
    for task, name, label in zip(shapes["task"], shapes[column], shapes["label"], strict=True):
        labels[task, name] = label if labels.setdefault((task, name), label) == label else "mixed"
    grid = _Grid(curves, labels, list(heads))
    about = table.drop_duplicates("task")[["task", "title", "cause", "role"]]
    groups = by_cause([{str(name): value for name, value in task.items()} for task in about.to_dict("records")])
    tasks = set(about["task"])
    shown = [label for label in LOOKS if label in {labels.get((task, head)) for task in tasks for head in heads}]
    height = _HEAD + _FOOT + sum(_ROW * len(group) + _HEADING * bool(name) for name, group in groups)
    sheet = Drawing(72 * PAGE, height)
    for place, head in enumerate(heads.values()):
        sheet.words.append(Words(head, _LEFT + (place + 0.5) * grid.wide, _HEAD - 4.3, INK, anchor="middle"))
    sheet.words.append(Words(corner, _LEFT - 4.3, _HEAD - 4.3, INK, anchor="end", is_italic=True))
    top = _HEAD
    for name, group in groups:
        if name:
            _say(sheet, name, _MARGIN, top + 0.6 * _HEADING, is_italic=True)
            top += _HEADING
        for task in group:
            _row(sheet, grid, task, top)
            top += _ROW
    _legend(sheet, shown, top + 19.4)
    scale = "Cells of a row share one scale: its ends are on the right."
    _say(sheet, f"Each cell: {note}. {scale}", _MARGIN, top + 36, 6.5)
    return sheet


def _say(sheet: Drawing, text: str, across: float, middle: float, size: float = 7, **style: Any) -> None:
    """Words with their middle at a height."""
    sheet.words.append(Words(text, across, middle + _SMALL_CAPITAL * size, INK, size, **style))


def _row(sheet: Drawing, grid: _Grid, task: dict[Any, Any], top: float) -> None:
    """One task: its title, a cell a column, and the ends of the scale."""
    own = [curve for name in grid.columns for curve in grid.curves.get((task["task"], name), [])]
    title = textwrap.wrap(str(task["title"]), 24, max_lines=2, placeholder=" …") or [str(task["task"])]
    for line, words in enumerate(title):
        _say(sheet, words, _LEFT - 5.8, top + _ROW / 2 + 9 * (line - (len(title) - 1) / 2), 7.5, anchor="end")
    if not own:
        return
    x, y = (np.concatenate(values) for values in zip(*own, strict=True))
    low, high = float(y.min()), float(y.max())
    if high - low < _NARROWEST:
        low, high = (low + high - _NARROWEST) / 2, (low + high + _NARROWEST) / 2
    for place, name in enumerate(grid.columns):
        left, look = _LEFT + place * grid.wide, LOOKS.get(grid.labels.get((task["task"], name), ""))
        if look is None:
            continue
        _tint(sheet, left, top, grid.wide, _ROW, look)
        curves = grid.curves[task["task"], name]
        for places, values in curves:
            across = left + grid.wide * (0.1 + 0.8 * _share(places, float(x.min()), float(x.max())))
            down = top + _ROW * (0.87 - 0.74 * _share(values, low, high))
            width = 1.0 if len(curves) == 1 and len(down) <= 20 else 0.5
            sheet.strokes.append(Stroke(np.column_stack([across, down]), INK, width))
        corner = _quiet_corner(curves, low, high)
        inward = max(0.13 * grid.wide, 5.8)
        at = left + (inward if corner[0] == 0 else grid.wide - inward), top + _ROW * (0.24 if corner[1] == 1 else 0.76)
        _say(sheet, look.sign, *at, anchor="middle", is_bold=True)
    digits = 2 if high - low < 10 else 0
    right = _LEFT + len(grid.columns) * grid.wide + 4.3
    _say(sheet, f"{high:.{digits}f}", right, top + 0.22 * _ROW, 6)
    _say(sheet, f"{low:.{digits}f}", right, top + 0.78 * _ROW, 6)


def _tint(sheet: Drawing, left: float, top: float, wide: float, high: float, look: PanelStyle) -> None:
    """A cell's ground: its label's colour, paled so that the curve stands out, framed where there is none."""
    gap = 1.1
    left, top, right, bottom = left + gap, top + gap, left + wide - gap, top + high - gap
    red, green, blue = (1 - 0.45 * (1 - channel) for channel in to_rgb(look.color))
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    sheet.areas.append(Area(corners, to_hex((red, green, blue)), edge="#d0d7de"))


def _share(values: Array, low: float, high: float) -> Array:
    """Where values lie between two ends: 0 to 1; in the middle where the ends are one."""
    return (values - low) / (high - low) if high > low else np.full(len(values), 0.5)


def _quiet_corner(curves: Sequence[tuple[Array, Array]], low: float, high: float) -> tuple[int, int]:
    """The corner (left 0 or right 1, bottom 0 or top 1) that is farthest from the curves: room for the sign."""
    x = np.concatenate([_share(own, float(own.min()), float(own.max())) for own, _ in curves])
    y = np.concatenate([_share(own, low, high) for _, own in curves])
    corners = [(0, 1), (1, 1), (0, 0), (1, 0)]
    return max(corners, key=lambda corner: float(np.hypot(x - corner[0], y - corner[1]).min().round(2)))


def _legend(sheet: Drawing, labels: Sequence[str], middle: float) -> None:
    left = _MARGIN
    for label in labels:
        _tint(sheet, left, middle - 6.1, 14.4, 12.2, LOOKS[label])
        _say(sheet, LOOKS[label].sign, left + 7.2, middle, anchor="middle", is_bold=True)
        _say(sheet, label, left + 17.3, middle, 6.5)
        left += 24.5 + 3.75 * len(label)


def chosen(columns: list[Any]) -> list[Any]:
    """At most 14 of them, evenly, first and last included."""
    at = sorted({round(place) for place in np.linspace(0, len(columns) - 1, min(_MOST, len(columns)))})
    return [columns[place] for place in at]
