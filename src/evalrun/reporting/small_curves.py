"""Curves as small as words: a model's in a table, and a task's among many."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from evalrun.reporting.drawing import Drawing, Stroke, pairs
from evalrun.reporting.figures import Series
from evalrun.reporting.line_values import LineValues, floats
from evalrun.reporting.panel_drawing import PanelRanges, PanelScale
from evalrun.statistics.row_groups import row_groups
from evalrun.statistics.shapes.labels import label_of

_WIDE, _HIGH, _EDGE = 120.0, 54.0, 3.0  # of a task's


def sparks(
    rows: pd.DataFrame, shapes: pd.DataFrame, series: Sequence[Series], colors: Mapping[str, str]
) -> list[dict[str, Any]]:
    """A word-sized curve of each model with its label, all on one scale."""
    x, y = np.log10(floats(rows, "tokens")), floats(rows, "value")
    wide, high = float(np.ptp(x)) or 1.0, max(float(np.ptp(y)), 0.02)
    placed = np.column_stack([2 + 60 * (x - x.min()) / wide, 18 - 16 * (y - y.min()) / high])
    models, names = pd.factorize(rows["model"])
    seeds = pd.factorize(rows["seed"], sort=True, use_na_sentinel=False)[0]
    order = np.lexsort((placed[:, 0], seeds, models))
    begin = np.flatnonzero(np.diff(models[order] * (seeds.max() + 1) + seeds[order], prepend=-1))
    points: dict[str, list[str]] = {}
    for own in np.split(order, begin[1:]):
        points.setdefault(str(names[models[own[0]]]), []).append(pairs(placed[own]))
    labels = {str(model): label_of(curves) for model, curves in row_groups(shapes[["model", "label"]], "model").items()}
    return [
        {
            "points": points.get(str(line.key), []),
            "color": colors[line.color],
            "label": labels.get(str(line.key), ""),
        }
        for line in series
    ]


def tile(
    lines: Mapping[Hashable, LineValues], ranges: PanelRanges, series: Sequence[Series], colors: Mapping[str, str]
) -> Markup:
    """All lines of a task, without axes: its course among many tasks, each on a scale of its own.

    Args:
        lines: What `line_values` returns for the task's rows.
        ranges: What its panel spans.
        series: The study's models, or steps.
        colors: Colour of a series -> what the page calls it.
    """
    sheet = Drawing(_WIDE, _HIGH)
    scale = PanelScale(ranges, _EDGE, _WIDE - _EDGE, _EDGE, _HIGH - _EDGE)
    for line in series:
        if line.key in lines:
            own = lines[line.key]
            sheet.strokes.append(Stroke(scale.place(own.x, own.value), colors[line.color], 1.3))
    return Markup(sheet.svg(alone=False))
