"""Values against training compute across families: a panel a task, a line a family, a point a model."""

from __future__ import annotations

import math
import textwrap
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from evalrun.core.palette import family_looks
from evalrun.reporting.figures import COLUMN, FAINT, PAGE, STYLE, NotebookFigure, new_figure
from evalrun.reporting.metric_names import value_name
from evalrun.reporting.scales import NAMES, log_scale

_CHANCE: dict[str, Any] = {"color": FAINT, "linestyle": (0, (3, 2.5)), "linewidth": 0.8}


def families_figure(points: pd.DataFrame) -> NotebookFigure:
    """Draw each task's values over training compute, a line a family, with bars of +-1 standard error over items.

    Args:
        points: `families.last_checkpoints`.

    Returns:
        A figure to be saved, as wide as a column of a paper for one task (3.3 inches), else as both (6.9 inches).
    """
    names = list(dict.fromkeys(points["family"]))
    looks = dict(zip(names, family_looks(len(names)), strict=True))
    tasks = list(points["task"].unique())
    columns = len(tasks) if len(tasks) <= 3 else 2 if len(tasks) == 4 else 3 if len(tasks) <= 9 else 4
    lines = math.ceil(len(tasks) / columns)
    with mpl.rc_context(STYLE):
        figure = new_figure(COLUMN if columns == 1 else PAGE, (2.2 if columns <= 2 else 1.75) * lines + 0.7)
        for position, task in enumerate(tasks):
            rows = points[points["task"] == task]
            axes = figure.add_subplot(lines, columns, position + 1)
            _draw(axes, rows, looks, 5 if columns <= 2 else 3)
            title = "\n".join(textwrap.wrap(str(rows["title"].iloc[0]), {1: 36, 2: 38, 3: 28}.get(columns, 22))[:2])
            axes.set_title(title or str(task), fontsize=8, loc="left", fontweight="bold")
        figure.supxlabel(f"{NAMES['flops']} (log scale)", fontsize=8)
        figure.supylabel(value_name(points), fontsize=8)
        _legend(figure, points, looks)
    return figure


def _draw(axes: Axes, rows: pd.DataFrame, looks: dict[str, tuple[str, str]], most: int) -> None:
    """One task: lines in order of compute, a bar where a standard error is known."""
    for name, own in rows.groupby("family", sort=False):
        color, marker = looks[str(name)]
        own = own.sort_values("flops")
        bars: ErrorbarContainer = axes.errorbar(
            own["flops"], own["value"], yerr=own["stderr"].fillna(0.0), color=color, marker=marker,
            markersize=3.4, markeredgewidth=0.0, linewidth=1.2, elinewidth=0.8, capsize=1.6, capthick=0.8,
        )  # fmt: skip
        bars.lines[0].set_label(str(name))
    chance = rows["chance"].dropna()
    if not chance.empty:
        axes.axhline(float(chance.iloc[0]), zorder=1, **_CHANCE)
    log_scale(axes, rows["flops"], most=most)
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))


def _legend(figure: Figure, points: pd.DataFrame, looks: dict[str, tuple[str, str]]) -> None:
    """Families, chance, and what the bars are."""
    handles = [Line2D([], [], color=color, marker=marker, markersize=4) for color, marker in looks.values()]
    labels = list(looks)
    if points["chance"].notna().any():
        handles.append(Line2D([], [], **_CHANCE))
        labels.append("chance")
    if points["stderr"].notna().any():
        handles.append(Line2D([], [], color=FAINT, marker="|", markersize=6, linestyle="none"))
        labels.append("±1 standard error")
    fitting = max(1, int(figure.get_figwidth() * 72 / (3.9 * max(map(len, labels)) + 34)))
    rows = math.ceil(len(labels) / fitting)
    figure.legend(
        handles, labels, loc="outside upper center", ncols=math.ceil(len(labels) / rows), frameon=False,
        fontsize=7, handlelength=1.8, columnspacing=1.4,
    )  # fmt: skip
