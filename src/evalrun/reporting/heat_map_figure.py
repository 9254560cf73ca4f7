"""One task's answers, items by checkpoints, and the answers that took over in its falls: a panel a model."""

from __future__ import annotations

import io
import math
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.image import imsave

from evalrun.reporting.dynamics_words import tokens_text
from evalrun.reporting.figures import INK, STYLE
from evalrun.statistics.dynamics.distractors import COLUMN, POSITION, RIGHT, TEXT
from evalrun.statistics.dynamics.item_dynamics import ItemDynamics
from evalrun.statistics.naming import run_name

WRONG, KNOWN = "#efe0cc", "#0b5c8a"  # told apart by all common kinds of colour vision, and in grey
_COLORS = LinearSegmentedColormap.from_list("answers", [WRONG, KNOWN])
_COLUMNS, _MOST = 4, 12  # panels side by side, and in all
_BARS = 8  # answers shown of a fall
_TICKS = 3


def given_of(found: ItemDynamics) -> tuple[Any, ...]:
    """What `heat_map_figure` draws of a task, as plain values and tables."""
    maps = tuple(
        (one.label, tuple(one.tokens.tolist()), one.items, pd.DataFrame(one.shares)) for one in found.maps[:_MOST]
    )
    return found.title, maps, found.distractors


def heat_map_figure(title: str, maps: tuple[Any, ...], moved: pd.DataFrame) -> Figure:
    """Draw one task: right answers of each model, items in the order in which they are learned; below, its falls.

    Args:
        title: Of the task.
        maps: Label, tokens of the checkpoints, number of items and shares of right answers of each curve.
        moved: `distractors.distractors` of the task.

    Returns:
        A figure to be saved, 6.9 inches wide at most.
    """
    falls = _falls(moved)
    columns = min(_COLUMNS, max(len(maps), len(falls), 3))
    above, below = 1.7 * math.ceil(len(maps) / columns) + 0.4, 1.9 * bool(falls)  # inches
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.72 * columns, above + below), layout="constrained")
        FigureCanvasAgg(figure)
        # Each half has its columns, for the names of answers are no reason to set the maps apart.
        halves: Any = figure.subfigures(2, 1, height_ratios=[above, below]) if falls else [figure]
        upper, *lower = halves
        for place, (label, tokens, items, shares) in enumerate(maps):
            axes = upper.add_subplot(math.ceil(len(maps) / columns), columns, place + 1)
            _map(axes, label, np.array(tokens), shares.to_numpy())
            axes.set_ylabel(f"{items:,} items" if place % columns == 0 else "", fontsize=7)
        if lower:
            _draw_falls(lower[0], falls, columns)
        heading = fill(f"{title}: right answers (dark) by item and tokens", 22 * columns)
        upper.suptitle(heading, fontsize=9, fontweight="bold", x=0.01, ha="left")
    return figure


def answers_figure(moved: pd.DataFrame) -> Figure:
    """Draw the falls of a task alone: the change of probability of each answer, a panel a model.

    Args:
        moved: `distractors.distractors` of the task, with a row at least.

    Returns:
        A figure to be saved, 6.9 inches wide at most.
    """
    falls = _falls(moved)
    columns = max(len(falls), 2)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.72 * columns, 1.9), layout="constrained")
        FigureCanvasAgg(figure)
        _draw_falls(figure, falls, columns)
    return figure


def _falls(moved: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The rows of each fall, with its model, as many as there is room for."""
    by_curve = moved.groupby(["model", "seed"], dropna=False, sort=False)
    return [(run_name(own.iloc[0].to_dict()), own) for _, own in by_curve][:_COLUMNS]


def _draw_falls(figure: Any, falls: list[tuple[str, pd.DataFrame]], columns: int) -> None:
    """Bars of each fall side by side; the answers are named once where they are the same."""
    shared = _answers(falls)
    for place, (label, own) in enumerate(falls):
        axes = figure.add_subplot(1, columns, place + 1)
        _bars(axes, label, own)
        if shared and place:
            axes.set_yticklabels([])


def _answers(falls: list[tuple[str, pd.DataFrame]]) -> bool:
    """Whether the bars of all falls stand for the same answers in the same order, so that names are needed once."""
    return len({tuple(names) for names in (_named(own)[1] for _, own in falls)}) == 1


def _map(axes: Axes, label: str, tokens: Any, shares: Any) -> None:
    """One model's answers; the checkpoints stand side by side, as far apart as each other."""
    axes.imshow(shares, cmap=_COLORS, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    last = len(tokens) - 1
    ticks = sorted({round(place * last / max(1, _TICKS - 1)) for place in range(_TICKS)})
    axes.set_xticks(ticks, [tokens_text(float(tokens[place])) for place in ticks], fontsize=6)
    axes.set_yticks([])
    axes.set_title(label, fontsize=7.5, loc="left", pad=3)


def _named(own: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Of one fall the right choice and the wrong ones that changed most, from below, and what to call them."""
    kinds = own["by"].isin([TEXT]) if (own["by"] == TEXT).sum() > 1 else own["by"].isin([POSITION])
    wrong = own[kinds | (own["by"] == COLUMN)].sort_values("change", ascending=False).head(_BARS - 1)
    shown = pd.concat([own[own["by"] == RIGHT], wrong])[::-1]
    return shown, [_short(str(row["by"]), str(row["value"])) for row in shown.to_dict("records")]


def _bars(axes: Axes, label: str, own: pd.DataFrame) -> None:
    """Of one fall, the change of probability of each answer."""
    shown, names = _named(own)
    at = np.arange(len(shown))
    color = [KNOWN if by == RIGHT else "#b4551d" for by in shown["by"]]
    reach = np.nan_to_num((shown["high"] - shown["low"]).to_numpy(np.float64) / 2)
    axes.barh(at, shown["change"], color=color, height=0.66)
    axes.errorbar(shown["change"], at, xerr=reach, fmt="none", ecolor=INK, elinewidth=0.6)
    axes.axvline(0, color=INK, linewidth=0.6)
    axes.set_yticks(at, names, fontsize=5.8)
    first = own.iloc[0]
    axes.set_title(
        f"{label}\nstep {first['peak_step']:.0f} to {first['trough_step']:.0f}", fontsize=6.5, loc="left", pad=3
    )
    axes.set_xlabel("change of probability", fontsize=6.5)


def _short(by: str, value: str) -> str:
    if by == RIGHT:
        return "right"
    name = {POSITION: f"wrong, place {value}", COLUMN: f"= {value}"}.get(by, value)
    return name if len(name) <= 16 else f"{name[:15]}…"


def picture(values: Any, worst: float = 0.0, best: float = 1.0) -> bytes:
    """Values of one curve as a PNG of a pixel for each row and checkpoint, without axes: the page scales it.

    Args:
        values: (rows, checkpoints)
        worst: The value that is pale.
        best: The one that is dark.
    """
    buffer = io.BytesIO()
    imsave(buffer, (values - worst) / ((best - worst) or 1.0), cmap=_COLORS, vmin=0, vmax=1, format="png")
    return buffer.getvalue()
