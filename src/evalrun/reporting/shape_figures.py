"""The shapes at a glance: a grid of word-sized curves, each on its label's tint with its label's sign.

Grids are drawn on one axes whose units are inches, so that a picture keeps its type size whatever its number of rows.
Colours are those of Okabe & Ito (2008), which the common kinds of colour blindness keep apart; the signs say the same
in grey.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from evalrun.core.causes import by_cause
from evalrun.reporting.figures import INK, PAGE, STYLE, common_head, value_name
from evalrun.reporting.scales import si
from evalrun.statistics.regression.model_frame import PARAMS
from evalrun.statistics.shapes.curves import CurveSet, over_size, over_training
from evalrun.statistics.shapes.noise import Array

WIDTH = PAGE
_LEFT, _RIGHT, _MARGIN = 1.55, 0.36, 0.08  # of a grid
_ROW, _HEAD, _HEADING, _FOOT = 0.4, 0.3, 0.21, 0.62
_MOST, _WIDEST = 14, 1.0  # columns; inches of a cell
_NARROWEST = 0.05  # of the value's range shown in a row: level curves must not look like mountains


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


def training_grid(table: pd.DataFrame, shapes: pd.DataFrame) -> Figure:
    """Draw tasks (rows, grouped by cause) by models (columns, small to large): each curve over training.

    Args:
        table: Rows of `Prepared.table`.
        shapes: What `describe_shapes` returns for it. A model whose seeds differ in their labels is mixed.

    Returns:
        A figure to be saved, 6.9 inches wide. Of more than 14 models as many are shown, evenly chosen.
    """
    sizes = table.groupby("model")["n_params"].max().reset_index().sort_values(["n_params", "model"])
    models = chosen([str(model) for model in sizes["model"]])
    prefix = common_head(models)
    heads = {model: model[len(prefix) :] for model in models}
    note = f"{value_name(table)} over training tokens (log scale)"
    return _grid(over_training(table), shapes, "model", heads, prefix, note)


def size_grid(table: pd.DataFrame, shapes: pd.DataFrame, params: str) -> Figure:
    """Draw tasks (rows, grouped by cause) by steps (columns): each curve over model size.

    Args:
        table: Rows of `Prepared.table`.
        shapes: What `shapes_over_size` returns for it.
        params: A key of `model_frame.PARAMS`: nominal, total or nonembedding.

    Returns:
        A figure to be saved, 6.9 inches wide. Of more than 14 steps as many are shown, evenly chosen.
    """
    steps = chosen(sorted(table["step"].unique()))
    heads = {step: si(step) for step in steps}
    note = f"{value_name(table)} over model size (log scale)"
    return _grid(over_size(table, PARAMS[params]), shapes, "step", heads, "training step ", note)


@dataclass(frozen=True)
class _Grid:
    """What a grid's rows have in common."""

    curves: CurveSet
    pieces: dict[tuple[Any, Any], list[slice]]  # task and column -> the rows of its curves, several where seeds are
    labels: dict[Any, str]  # task and column -> label
    columns: list[Any]

    @property
    def wide(self) -> float:
        """Width of a cell."""
        return min((WIDTH - _LEFT - _RIGHT) / len(self.columns), _WIDEST)


def _grid(curves: CurveSet, shapes: pd.DataFrame, column: str, heads: dict[Any, str], corner: str, note: str) -> Figure:
    """Small curves, a row a task and a column a model or step, framed and labelled by their shape.

    Args:
        curves: Those to draw.
        shapes: Their labels, as `describe_shapes` or `shapes_over_size` return them.
        column: Of the table, whose values are the grid's columns: model or step.
        heads: Value of that column -> its heading, in order.
        corner: What the rows are.
        note: What a cell shows.
    """
    pieces: dict[tuple[Any, Any], list[slice]] = {}
    tasks, names = curves.rows["task"].to_numpy(), curves.rows[column].to_numpy()
    for begin, length in zip(curves.begin, curves.length, strict=True):
        pieces.setdefault((tasks[begin], names[begin]), []).append(slice(begin, begin + length))
    cells = shapes.groupby(["task", column], sort=False)["label"]
    labels = {key: str(own.iloc[0]) if own.nunique() == 1 else "mixed" for key, own in cells}
    grid = _Grid(curves, pieces, labels, list(heads))
    about = [name for name in ("task", "title", "cause", "role") if name in curves.rows.columns]
    groups = by_cause(
        [dict(zip(about, task, strict=True)) for task in curves.rows.drop_duplicates("task")[about].to_numpy()]
    )
    shown = [label for label in LOOKS if label in {labels.get((task, head)) for task in set(tasks) for head in heads}]
    height = _HEAD + _FOOT + sum(_ROW * len(group) + _HEADING * bool(name) for name, group in groups)
    with mpl.rc_context(STYLE):
        figure, axes = _canvas(height)
        top = height - _HEAD
        for place, head in enumerate(heads.values()):
            axes.text(_LEFT + (place + 0.5) * grid.wide, top + 0.06, head, ha="center", va="bottom", fontsize=7)
        axes.text(_LEFT - 0.06, top + 0.06, corner, ha="right", va="bottom", fontsize=7, style="italic")
        for name, group in groups:
            if name:
                axes.text(_MARGIN, top - 0.6 * _HEADING, name, fontsize=7, va="center", style="italic")
                top -= _HEADING
            for task in group:
                _row(axes, grid, task, top)
                top -= _ROW
        _legend(axes, shown, top - 0.27)
        scale = "Cells of a row share one scale: its ends are on the right."
        axes.text(_MARGIN, top - 0.5, f"Each cell: {note}. {scale}", fontsize=6.5, va="center")
    return figure


def _canvas(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(0, height)
    return figure, axes


def _row(axes: Axes, grid: _Grid, task: dict[Any, Any], top: float) -> None:
    """One task: its title, a cell a column, and the ends of the scale."""
    own = [piece for name in grid.columns for piece in grid.pieces.get((task["task"], name), [])]
    value = grid.curves.rows["value"].to_numpy(dtype="float64")
    title = "\n".join(textwrap.wrap(str(task["title"]), 24, max_lines=2, placeholder=" …")) or str(task["task"])
    axes.text(_LEFT - 0.08, top - _ROW / 2, title, ha="right", va="center", fontsize=7.5, linespacing=1.05)
    if not own:
        return
    x, y = (np.concatenate([values[piece] for piece in own]) for values in (grid.curves.x, value))
    low, high = float(y.min()), float(y.max())
    if high - low < _NARROWEST:
        low, high = (low + high - _NARROWEST) / 2, (low + high + _NARROWEST) / 2
    for place, name in enumerate(grid.columns):
        left, look = _LEFT + place * grid.wide, LOOKS.get(grid.labels.get((task["task"], name), ""))
        if look is None:
            continue
        _tint(axes, left, top - _ROW, grid.wide, _ROW, look)
        pieces = grid.pieces[task["task"], name]
        for piece in pieces:
            across = left + grid.wide * (0.1 + 0.8 * _share(grid.curves.x[piece], float(x.min()), float(x.max())))
            up = top - _ROW * (0.87 - 0.74 * _share(value[piece], low, high))
            axes.plot(
                across,
                up,
                color=INK,
                linewidth=1.0 if len(pieces) == 1 and len(up) <= 20 else 0.5,
                solid_capstyle="round",
            )
        corner = _quiet_corner([(grid.curves.x[piece], value[piece]) for piece in pieces], low, high)
        inward = max(0.13 * grid.wide, 0.08)
        at = left + (inward if corner[0] == 0 else grid.wide - inward), top - _ROW * (0.24 if corner[1] == 1 else 0.76)
        axes.text(*at, look.sign, ha="center", va="center", fontsize=7, fontweight="bold")
    digits = 2 if high - low < 10 else 0
    right = _LEFT + len(grid.columns) * grid.wide + 0.06
    axes.text(right, top - 0.22 * _ROW, f"{high:.{digits}f}", va="center", fontsize=6)
    axes.text(right, top - 0.78 * _ROW, f"{low:.{digits}f}", va="center", fontsize=6)


def _tint(axes: Axes, left: float, bottom: float, wide: float, high: float, look: PanelStyle) -> None:
    """A cell's ground: its label's colour, paled so that the curve stands out, framed where there is none."""
    gap = 0.015
    where = (left + gap, bottom + gap), wide - 2 * gap, high - 2 * gap
    pale = [1 - 0.45 * (1 - channel) for channel in to_rgb(look.color)]
    axes.add_patch(Rectangle(*where, facecolor=pale, edgecolor="#d0d7de", linewidth=0.4))


def _share(values: Array, low: float, high: float) -> Array:
    """Where values lie between two ends: 0 to 1; in the middle where the ends are one."""
    return (values - low) / (high - low) if high > low else np.full(len(values), 0.5)


def _quiet_corner(curves: Sequence[tuple[Array, Array]], low: float, high: float) -> tuple[int, int]:
    """The corner (left 0 or right 1, bottom 0 or top 1) that is farthest from the curves: room for the sign."""
    x = np.concatenate([_share(own, float(own.min()), float(own.max())) for own, _ in curves])
    y = np.concatenate([_share(own, low, high) for _, own in curves])
    corners = [(0, 1), (1, 1), (0, 0), (1, 0)]
    return max(corners, key=lambda corner: float(np.hypot(x - corner[0], y - corner[1]).min().round(2)))


def _legend(axes: Axes, labels: Sequence[str], middle: float) -> None:
    left = _MARGIN
    for label in labels:
        _tint(axes, left, middle - 0.085, 0.2, 0.17, LOOKS[label])
        axes.text(left + 0.1, middle, LOOKS[label].sign, ha="center", va="center", fontsize=7, fontweight="bold")
        axes.text(left + 0.24, middle, label, va="center", fontsize=6.5)
        left += 0.34 + 0.052 * len(label)


def chosen(columns: list[Any]) -> list[Any]:
    """At most 14 of them, evenly, first and last included."""
    at = sorted({round(place) for place in np.linspace(0, len(columns) - 1, min(_MOST, len(columns)))})
    return [columns[place] for place in at]
