"""Accuracy over training and over size as small multiples: one panel a task, one line a model.

Figures are `Figure` objects with the Agg backend, which touch nothing of pyplot: they can be made in any thread.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from evalrun.core.palette import model_colors
from evalrun.reporting.drawing import FONTS
from evalrun.reporting.metric_names import panel_titles, value_name
from evalrun.reporting.scales import axis_name, log_scale

INK, FAINT = "#1f2328", "#8b949e"  # text; axes and the chance line
COLUMN, PAGE = 3.3, 6.9  # inches: a column of a paper, and both of them
# Names that come from users are shown as they are: a dollar sign is no formula.
STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": FONTS,
    "font.size": 8,
    "text.parse_math": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "pdf.fonttype": 42,  # whole TrueType outlines: journals refuse Type 3
    "svg.fonttype": "none",
    "savefig.dpi": 200,
}
_DASHES: list[Any] = ["-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2))]  # for models of one size, one colour
FLAT = 0.02  # of its unit that a panel's values span at least: a flat line must not look like a mountain range
_CHANCE: dict[str, Any] = {"color": FAINT, "linestyle": (0, (3, 2.5)), "linewidth": 0.8}


@dataclass(frozen=True)
class Series:
    """How one line is drawn and named."""

    key: str | float  # value of the column that tells lines apart: model name or step
    label: str
    color: str
    dashes: Any


def accuracy_figure(table: pd.DataFrame, x: str = "tokens") -> NotebookFigure:
    """Draw each task's values over training, one line a model.

    Bands are +-1 standard error over items. A model with several seeds has a thin line for each and a thick one for
    their mean, without bands.

    Args:
        table: Rows of `Prepared.table`.
        x: Column of the logarithmic x axis: tokens or flops.

    Returns:
        A figure to be saved, as wide as a column of a paper for one task (3.3 inches), else as both (6.9 inches).
    """
    return _facets(table, x, "model", model_series(table))


def scaling_figure(table: pd.DataFrame, x: str = "n_params_nominal") -> NotebookFigure:
    """Draw each task's values over model size, one line a training step (at most eight, evenly chosen, the last
    included).

    Args:
        table: Rows of `Prepared.table`.
        x: Column of the logarithmic x axis: n_params_nominal, n_params or n_params_nonembedding.

    Returns:
        A figure to be saved.
    """
    series = step_series(table)
    return _facets(table[table["step"].isin([line.key for line in series])], x, "step", series)


def step_series(table: pd.DataFrame, dark: bool = False) -> list[Series]:
    """The table's training steps, at most eight, evenly chosen, the last included."""
    steps = sorted(table["step"].unique())
    chosen = [steps[i] for i in sorted({round(i) for i in np.linspace(0, len(steps) - 1, min(8, len(steps)))})]
    return [Series(s, f"step {s:.0f}", c, "-") for s, c in zip(chosen, model_colors(chosen, dark), strict=True)]


def model_series(table: pd.DataFrame, dark: bool = False) -> list[Series]:
    """The table's models from small to large, coloured by size; models of one size differ by their dashes."""
    sizes = table.groupby("model")["n_params"].max().reset_index().sort_values(["n_params", "model"])
    colors = model_colors(sizes["n_params"].tolist(), dark)
    ranks = sizes.groupby("n_params", dropna=False).cumcount()
    return [
        Series(str(model), str(model), color, _DASHES[rank % len(_DASHES)])
        for model, color, rank in zip(sizes["model"], colors, ranks, strict=True)
    ]


def common_head(names: Sequence[str]) -> str:
    """What all names begin with, up to a hyphen, so that labels can leave it out."""
    head = names[0].rpartition("-")[0] + "-" if names else ""
    return head if len(names) > 1 and all(name.startswith(head) and name != head for name in names) else ""


def _facets(table: pd.DataFrame, x: str, by: str, series: Sequence[Series]) -> NotebookFigure:
    """A panel for each task, up to four beside each other.

    Args:
        table: Rows of the tidy table, one metric a task.
        x: The column across, on a log scale.
        by: The column whose values are lines.
        series: Order, names and looks of the lines.
    """
    tasks = list(table["task"].unique())
    columns = len(tasks) if len(tasks) <= 3 else 2 if len(tasks) == 4 else 3 if len(tasks) <= 9 else 4
    lines = math.ceil(len(tasks) / columns)
    with mpl.rc_context(STYLE):
        high = {1: 2.1, 2: 2.3}.get(columns, 1.7 if columns == 3 else 1.5)
        figure = new_figure(COLUMN if columns == 1 else PAGE, high * lines + 0.6)
        letters = {1: 36, 2: 38, 3: 28}.get(columns, 22)
        groups = [(str(task), table[table["task"] == task]) for task in tasks]
        for position, ((task, rows), named) in enumerate(zip(groups, panel_titles(table, groups), strict=True)):
            axes = figure.add_subplot(lines, columns, position + 1)
            _draw(axes, rows, x, by, series, 5 if columns <= 2 else 3)
            title = "\n".join(textwrap.wrap(named, letters, max_lines=2)) or task
            axes.set_title(title, fontsize=8, loc="left", fontweight="bold")
        figure.supxlabel(f"{axis_name(table, x)} (log scale)", fontsize=8)
        figure.supylabel(value_name(table), fontsize=8)
        _legend(figure, table, series)
    return figure


class NotebookFigure(Figure):
    """A figure that a notebook shows as it is, though pyplot knows nothing of it."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """The picture, and its size on the screen in pixels: half of what it holds."""
        buffer = io.BytesIO()
        with mpl.rc_context(STYLE):
            self.savefig(buffer, format="png")
        width, height = (round(inches * 100) for inches in self.get_size_inches())
        return buffer.getvalue(), {"width": width, "height": height}


def new_figure(width: float, height: float) -> NotebookFigure:
    """An empty figure of so many inches that needs no window."""
    figure = NotebookFigure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _draw(axes: Axes, rows: pd.DataFrame, x: str, by: str, series: Sequence[Series], most: int = 5) -> None:
    """Draw a task's lines with chance and scales; a flat curve spans 0.02 of its unit at least.

    Args:
        axes: To draw on.
        rows: Of one task.
        x: The column across.
        by: The column whose values are lines.
        series: Order, names and looks of the lines.
        most: Marks on the axis across, at most.
    """
    groups = dict(list(rows[rows[x] > 0].groupby(by, sort=False)))
    for line in series:
        if line.key in groups:
            _draw_line(axes, groups[line.key], x, line, len(series))
    chance = rows["chance"].dropna()
    if not chance.empty:
        axes.axhline(float(chance.iloc[0]), zorder=1, **_CHANCE)
    log_scale(axes, rows[x], sizes=by == "step", most=most)
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    bottom, top = axes.get_ylim()
    if top - bottom < FLAT:
        bottom, top = (bottom + top - FLAT) / 2, (bottom + top + FLAT) / 2
    axes.set_ylim(bottom, top)


def _draw_line(axes: Axes, own: pd.DataFrame, x: str, line: Series, lines: int) -> None:
    """Draw one line; many lines get fainter bands, which lie over one another."""
    seeds = own["seed"].nunique(dropna=False)
    if own[x].is_unique:
        curve = own[[x, "value", "stderr"]].sort_values(x)
    else:
        curve = own.groupby(x, as_index=False).agg({"value": "mean", "stderr": "mean"}).sort_values(x)
    across, value, error = (curve[name].to_numpy(dtype="float64") for name in (x, "value", "stderr"))
    # Beyond some twenty points markers merge into a thicker line that says nothing.
    marker: dict[str, Any] = {"marker": "o", "markersize": 2.2, "markeredgewidth": 0.0} if len(curve) <= 20 else {}
    style: dict[str, Any] = {"color": line.color, "linestyle": line.dashes, "solid_capstyle": "round"}
    if seeds > 1:
        for _, thin in own.groupby("seed", dropna=False):
            thin = thin.sort_values(x)
            axes.plot(thin[x], thin["value"], linewidth=0.4, alpha=0.45, **style)
    elif not np.isnan(error).all():
        error = np.nan_to_num(error)
        axes.fill_between(
            across, value - error, value + error, color=line.color, alpha=0.24 / math.sqrt(lines), linewidth=0
        )
    axes.plot(across, value, linewidth=1.2, **marker, **style)


def _legend(figure: Figure, table: pd.DataFrame, series: Sequence[Series]) -> None:
    """One legend for the whole figure: the lines, then what the dashed line and the bands mean."""
    handles: list[Any] = [
        Line2D([], [], color=s.color, linestyle=s.dashes, linewidth=1.6, marker="o", markersize=3) for s in series
    ]
    labels = [s.label for s in series]
    if table["chance"].notna().any():
        handles.append(Line2D([], [], **_CHANCE))
        labels.append("chance")
    if table.groupby("model")["seed"].nunique(dropna=False).max() > 1:
        handles.append(Line2D([], [], color=FAINT, linewidth=0.5))
        labels.append("one seed")
    elif table["stderr"].notna().any():
        handles.append(Patch(facecolor=FAINT, alpha=0.3, linewidth=0))
        labels.append("±1 standard error")
    longest = max(len(label) for label in labels)
    fitting = max(1, int(figure.get_figwidth() * 72 / (3.9 * longest + 34)))  # points: about 3.9 a letter, 34 a handle
    rows = math.ceil(len(labels) / fitting)
    figure.legend(
        handles,
        labels,
        loc="outside upper center",
        ncols=math.ceil(len(labels) / rows),
        frameon=False,
        fontsize=7,
        handlelength=1.8,
        columnspacing=1.4,
    )
