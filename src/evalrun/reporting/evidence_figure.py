"""One task's curves with what the tests of `shapes.evidence` found in them: a panel a model."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
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

from evalrun.reporting.figures import INK, PAGE, STYLE
from evalrun.reporting.metric_names import value_name
from evalrun.reporting.scales import axis_name, log_scale
from evalrun.reporting.shape_figures import chosen
from evalrun.statistics.shapes.evidence import TESTS
from evalrun.statistics.shapes.noise import Array

_COLUMNS, _HIGH = 4, 1.5
_BREAK, _TURN = "#D55E00", "#0072B2"
_LEAST = 0.05  # of the range shown: level curves must not look like mountains


def evidence_figure(table: pd.DataFrame, found: pd.DataFrame, task: str, axis: str = "tokens") -> Figure:
    """Draw one task: each model's curve, its broken line with the break's interval, and the parabola's turning point.

    Of a model with several seeds each has its curve and its broken line, thin; intervals and turning points are left
    out. The break's interval is drawn only where a break is identified, the turning point only where Lind & Mehlum's
    test finds one.

    Args:
        table: Rows of `Prepared.table`.
        found: What `evidence` returns for it, with the same axis.
        task: Which task.
        axis: Column of the axis: tokens or flops.

    Returns:
        A figure to be saved, 6.9 inches wide at most. Of more than 14 models as many are shown, evenly chosen.
    """
    rows = table[(table["task"] == task) & (table[axis] > 0)]
    sizes = rows.groupby("model")["n_params"].max().reset_index().sort_values(["n_params", "model"])
    models = chosen([str(model) for model in sizes["model"]])
    columns = min(_COLUMNS, len(models))
    lines = math.ceil(len(models) / columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(min(PAGE, 2.6 * columns), _HIGH * lines + 0.95), layout="constrained")
        FigureCanvasAgg(figure)
        first: Axes | None = None
        for place, model in enumerate(models):
            axes = figure.add_subplot(lines, columns, place + 1, sharex=first, sharey=first)
            first = first or axes
            own = found[(found["task"] == task) & (found["model"] == model)]
            _panel(axes, rows[rows["model"] == model], own, axis)
            lowest = place + columns >= len(models)
            axes.tick_params(labelleft=place % columns == 0, labelbottom=lowest)
            axes.set_xlabel(axis_name(rows, axis) if lowest else "", fontsize=7)
        if first is not None:
            _scales(first, rows, axis)
        figure.suptitle(str(rows["title"].iloc[0]), fontsize=9, fontweight="bold", x=0.01, ha="left")
        figure.supylabel(value_name(rows), fontsize=8)
        _legend(figure, found[(found["task"] == task) & found["model"].isin(models)])
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, found: pd.DataFrame, axis: str) -> None:
    """Draw one model's curves of a task with the broken line, its break's interval and the parabola's turn.

    Args:
        axes: To draw on.
        rows: Of the tidy table, all seeds of the model.
        found: The tests of its curves, one a seed; the intervals are drawn if it is one.
        axis: The column across: tokens or flops.
    """
    alone = len(found) == 1
    for test in found.to_dict("records"):
        same = rows["seed"].isna() if pd.isna(test["seed"]) else rows["seed"] == test["seed"]
        curve = rows[same].sort_values(axis)
        x, y = (curve[name].to_numpy(dtype="float64") for name in (axis, "value"))
        sign = 1.0 if bool(curve["higher_is_better"].iloc[0]) else -1.0
        if alone:
            error = curve["stderr"].fillna(0.0).to_numpy(dtype="float64")
            axes.fill_between(x, y - error, y + error, color=INK, alpha=0.14, linewidth=0)
        marker: dict[str, Any] = {"marker": "o", "markersize": 2.4, "markeredgewidth": 0.0} if len(x) <= 20 else {}
        axes.plot(x, y, color=INK, linewidth=0.9 if alone else 0.5, **marker)
        if np.isfinite(test["break_at"]):
            at, up = _broken(test, x)
            axes.plot(at, sign * up, color=_BREAK, linewidth=1.2 if alone else 0.6, linestyle=(0, (4, 1.5)))
        if alone and bool(test["break_identified"]):
            axes.axvspan(test["break_low"], test["break_high"], color=_BREAK, alpha=0.13, linewidth=0)
        if alone and test["quadratic"] in ("U-shaped", "inverted-U"):
            ends = np.clip([test["turn_low"], test["turn_high"]], x[0], x[-1])
            level: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "color": _TURN, "clip_on": False}
            axes.plot(ends, [0.03, 0.03], linewidth=1.6, solid_capstyle="butt", **level)
            axes.plot([test["turn"]], [0.03], marker="^", markersize=4.5, linestyle="none", **level)
    labels = sorted(set(found["label"]))
    label = labels[0] if len(labels) == 1 else "mixed"
    model = str(rows["model"].iloc[0])
    axes.set_title(f"{model}: {label}", fontsize=7.5, loc="left", pad=10 if alone else 3)
    if alone:
        said = axes.annotate(
            found_by_tests(found.iloc[0].to_dict()),
            (0, 1.015),
            xycoords="axes fraction",
            fontsize=5.8,
            va="bottom",
            ha="left",
        )
        said.set_in_layout(False)


def found_by_tests(row: Mapping[Any, Any]) -> str:
    """`tests: 2 inverted-U, 1 falling`: what they see, whatever the label, which asks for more than they do."""
    seen = Counter("nothing" if row[test] == "none" else str(row[test]) for test in TESTS)
    return f"tests: {', '.join(f'{count} {what}' for what, count in seen.most_common())}"


def _broken(test: dict[Any, Any], x: Array) -> tuple[Array, Array]:
    """The broken line's ends and its break; values where up means better."""
    at = np.array([x[0], test["break_at"], x[-1]])
    slopes = np.array([test["break_before"], 0.0, test["break_after"]])
    return at, test["break_value"] + slopes * (np.log10(at) - np.log10(test["break_at"]))


def _scales(axes: Axes, rows: pd.DataFrame, axis: str) -> None:
    log_scale(axes, rows[axis], most=3)
    bottom, top = axes.get_ylim()
    half = max(top - bottom, _LEAST) / 2
    axes.set_ylim((bottom + top) / 2 - 1.12 * half, (bottom + top) / 2 + 1.12 * half)  # room for marks and words
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))


def _legend(figure: Figure, found: pd.DataFrame) -> None:
    """Explain below the panels what is drawn in one of them at least."""
    several = found.groupby("model").size().max() > 1
    handles: list[Any] = [Line2D([], [], color=INK, linewidth=0.9, marker="o", markersize=2.4)]
    labels = ["one seed" if several else "value ±1 standard error"]
    if found["break_at"].notna().any():
        handles.append(Line2D([], [], color=_BREAK, linewidth=1.2, linestyle=(0, (4, 1.5))))
        labels.append("broken line")
    if not several and found["break_identified"].any():
        handles.append(Patch(facecolor=_BREAK, alpha=0.13, linewidth=0))
        labels.append("its break, 95 %")
    if not several and found["quadratic"].isin(["U-shaped", "inverted-U"]).any():
        handles.append(Line2D([], [], color=_TURN, linewidth=1.6, marker="^", markersize=4.5))
        labels.append("turn of the parabola, 95 %")
    figure.legend(
        handles,
        labels,
        loc="outside lower left",
        ncols=4,
        frameon=False,
        fontsize=6.5,
        columnspacing=1.2,
        handlelength=2,
    )
