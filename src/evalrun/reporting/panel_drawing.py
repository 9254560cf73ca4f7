"""One task's curves as marks of a drawing: the same in the page, in its own colours, and in the figures beside it."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from evalrun.reporting.drawing import Area, Dots, Drawing, Points, Rules, Stroke, Words
from evalrun.reporting.figures import FLAT, Series, common_head
from evalrun.reporting.line_values import LineValues, floats
from evalrun.reporting.metric_names import value_name
from evalrun.reporting.scales import INVERSE_LOSS, axis_name, log_limits, log_ticks, loss_ticks, rounded, si, spread
from evalrun.statistics.tuning.stage_rows import stage_marks

_LETTER = 3.9  # width of a letter of 7 units
_SHORT_NAME = 8  # letters: up to there a name is written whole
_MOST_NAMES, _NAME_GAP = 14, 0.066  # how many of them have room, and how far apart, in heights of the panel
_MARGIN = 0.05  # of the range of values, above and below
_MARKED = 20  # points of a line; beyond, markers merge into a thicker line that says nothing
_MARK_SIZE, _MARK_GAP, _MARK_LETTER = 5.8, 7.5, 3.3  # of the names of stages: size, room across, width of a letter
_TICKS = MaxNLocator(4, steps=[1, 2, 2.5, 5, 10])


@dataclass(frozen=True)
class PanelRanges:
    """What a panel's axes span."""

    across: tuple[float, float]  # log10 of the ends
    up: tuple[float, float]  # values at the ends
    ticks: list[float]  # values

    @property
    def labels_width(self) -> float:
        """How wide the values beside the axis are, with their ticks."""
        return max((len(label) for label in tick_labels(self.ticks)), default=1) * _LETTER + 6


@dataclass(frozen=True)
class PanelScale:
    """Where values lie on a sheet, in its units; down is larger."""

    ranges: PanelRanges
    left: float
    right: float  # where the axis across ends
    top: float
    floor: float  # where the axis across lies

    def place(self, x: Any, y: Any) -> Points:
        """Positions (points, 2) of values on both axes."""
        of_x, of_y = np.log10(np.asarray(x, dtype="float64")), np.asarray(y, dtype="float64")
        (low, high), (bottom, top) = self.ranges.across, self.ranges.up
        share, risen = (of_x - low) / (high - low), (of_y - bottom) / (top - bottom)
        across = self.left + share * (self.right - self.left)
        return np.column_stack([across, self.floor - risen * (self.floor - self.top)])


@dataclass(frozen=True)
class PanelInk:
    """What a panel is drawn with: fixed colours, or the page's variables."""

    lines: Sequence[str]  # a colour for each line
    words: str
    axes: str


def ranges_of(rows: pd.DataFrame, lines: Mapping[Hashable, LineValues], x: str) -> PanelRanges:
    """What the axes of a task's panel span: all of its lines, bands and chance; a flat curve 0.02 at least.

    Args:
        rows: The task's, with positive values of `x`.
        lines: What `line_values` returns for them.
        x: Column of the horizontal axis.
    """
    low, high = log_limits(floats(rows, x).tolist()) if len(rows) else (1.0, 10.0)
    parts = [floats(rows, "value"), floats(rows.dropna(subset="chance")[:1], "chance")]
    for line in lines.values():
        error = np.nan_to_num(line.error)
        parts += [line.value - error, line.value + error]
    shown = np.concatenate(parts)
    shown = shown[np.isfinite(shown)]
    bottom, top = (float(shown.min()), float(shown.max())) if len(shown) else (0.0, 1.0)
    bottom, top = bottom - _MARGIN * (top - bottom), top + _MARGIN * (top - bottom)
    if top - bottom < FLAT:
        bottom, top = (bottom + top - FLAT) / 2, (bottom + top + FLAT) / 2
    ticks = [float(at) for at in _TICKS.tick_values(bottom, top) if bottom <= at <= top]
    return PanelRanges((math.log10(low), math.log10(high)), (bottom, top), ticks)


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """Values with as few decimals as tell them apart."""
    if ticks and max(map(abs, ticks)) >= 1e5:
        return [si(at) if at > 0 else f"−{si(-at)}" if at < 0 else "0" for at in ticks]
    digits = next((d for d in range(9) if all(abs(round(at, d) - at) < 1e-9 for at in ticks)), 9)
    return [f"{at:.{digits}f}".replace("-", "−") for at in ticks]


def draw_panel(
    sheet: Drawing,
    lines: Mapping[Hashable, LineValues],
    series: Sequence[Series],
    scale: PanelScale,
    ink: PanelInk,
) -> list[tuple[int, float, float]]:
    """Draw the curves: bands, lines, and a thin line for each of several seeds.

    Args:
        sheet: What is drawn on.
        lines: What `line_values` returns for the task's rows.
        series: The study's models, or steps.
        scale: Where values lie.
        ink: The colours.

    Returns:
        Where lines end: which of the series, across, down.
    """
    ends = []
    for number, (line, color) in enumerate(zip(series, ink.lines, strict=True)):
        own = lines.get(line.key)
        if own is None:
            continue
        at = scale.place(own.x, own.value)
        ends.append((number, float(at[-1, 0]), float(at[-1, 1])))
        dashes = () if line.dashes == "-" else tuple(1.2 * length for length in line.dashes[1])
        if own.seeds:
            thin = [scale.place(x, value) for x, value in own.seeds]
            sheet.strokes += [Stroke(points, color, 0.4, dashes, 0.45) for points in thin]
        elif np.isfinite(own.error).any():
            error = np.nan_to_num(own.error)
            low, high = (scale.place(own.x, own.value + sign * error) for sign in (-1, 1))
            sheet.areas.append(Area(np.concatenate([low, high[::-1]]), color, 0.24 / math.sqrt(len(series))))
        sheet.strokes.append(Stroke(at, color, 1.2, dashes))
        if len(at) <= _MARKED:
            sheet.dots.append(Dots(at, color))
    return ends


def draw_axes(sheet: Drawing, rows: pd.DataFrame, scale: PanelScale, ink: PanelInk, x: str, by: str, most: int) -> None:
    """Draw chance, where it is known, and both axes with ticks and their labels.

    Args:
        sheet: What is drawn on.
        rows: The task's, with positive values of `x`.
        scale: Where values lie.
        ink: The colours.
        x: Column of the horizontal axis.
        by: Column whose values are lines: model or step.
        most: About how many labels the axis across has room for.
    """
    low, floor = scale.ranges.up[0], scale.floor
    if by == "model" and x in ("tokens", "flops"):
        _mark_stages(sheet, stage_marks(rows, x), scale, ink)
    chance = rows["chance"].dropna()
    if not chance.empty:
        down = _height(scale, float(chance.iloc[0]))
        sheet.rules.append(Rules([(scale.left, down, scale.right, down)], ink.axes, 0.8, (2.4, 2.0)))
    lines = [(scale.left, scale.top, scale.left, floor), (scale.left, floor, scale.right, floor)]
    known = sorted(set(floats(rows, x).tolist()))
    ticks = _across(known, x, by, most) if known else []
    at = [tick for tick, _ in ticks]
    for (_, label), across in zip(ticks, scale.place(at, [low] * len(at))[:, 0].tolist(), strict=True):
        lines.append((across, floor, across, floor + 2.5))
        sheet.words.append(Words(label, across, floor + 10, ink.words, anchor="middle"))
    for tick, label in zip(scale.ranges.ticks, tick_labels(scale.ranges.ticks), strict=True):
        down = _height(scale, tick)
        lines.append((scale.left - 2.5, down, scale.left, down))
        sheet.words.append(Words(label, scale.left - 4.5, down + 2.5, ink.words, anchor="end"))
    sheet.rules.append(Rules(lines, ink.axes))


def _mark_stages(sheet: Drawing, marks: Sequence[tuple[float, str]], scale: PanelScale, ink: PanelInk) -> None:
    """Draw a thin line where each stage begins, and its name beside it, read from below; names that would meet are one.

    Args:
        sheet: What is drawn on.
        marks: Places on the axis across, ascending, and names.
        scale: Where values lie.
        ink: The colours.
    """
    places = scale.place([at for at, _ in marks], [scale.ranges.up[0]] * len(marks))[:, 0].tolist() if marks else []
    named: list[tuple[float, list[str]]] = []
    for across, (_, name) in zip(places, marks, strict=True):
        if named and across - named[-1][0] < _MARK_GAP:
            named[-1][1].extend([name] if name not in named[-1][1] else [])
        else:
            named.append((across, [name]))
    lines = [(across, scale.top, across, scale.floor) for across in dict.fromkeys(round(place, 1) for place in places)]
    if lines:
        sheet.rules.append(Rules(lines, ink.axes, 0.5, (0.8, 1.6)))
    letters = int((scale.floor - scale.top) / _MARK_LETTER)
    for across, names in named:
        text = textwrap.shorten(", ".join(names), letters, placeholder="…")
        sheet.words.append(Words(text, across - 2, scale.top, ink.words, _MARK_SIZE, "end", is_upward=True))


def _across(known: Sequence[float], x: str, by: str, most: int) -> list[tuple[float, str]]:
    """Ticks of the axis across with their labels."""
    if x == INVERSE_LOSS:
        return loss_ticks(known, most)
    at = log_ticks(known[0], known[-1], most, known if by == "step" else None)
    return [(tick, rounded(tick)) for tick in at]


def _height(scale: PanelScale, value: float) -> float:
    low, high = scale.ranges.up
    return scale.floor - (value - low) / (high - low) * (scale.floor - scale.top)


def name_across(sheet: Drawing, rows: pd.DataFrame, scale: PanelScale, ink: PanelInk, x: str) -> None:
    """Write below the axis across what it is."""
    words = Words(axis_name(rows, x), (scale.left + scale.right) / 2, scale.floor + 22, ink.words, anchor="middle")
    sheet.words.append(words)


def name_lines(
    sheet: Drawing,
    rows: pd.DataFrame,
    series: Sequence[Series],
    ends: list[tuple[int, float, float]],
    scale: PanelScale,
    ink: PanelInk,
) -> None:
    """Write what the values are, and names beside the lines' ends, each with a leader; of many as many as have room.

    Args:
        sheet: What is drawn on.
        rows: The task's.
        series: The study's models, or steps.
        ends: What `draw_panel` returns.
        scale: Where values lie.
        ink: The colours.
    """
    middle = (scale.top + scale.floor) / 2
    sheet.words.append(Words(value_name(rows), 7, middle, ink.words, anchor="middle", is_upward=True))
    kept = sorted({round(i) for i in np.linspace(0, len(ends) - 1, min(_MOST_NAMES, len(ends)))})
    ends = [ends[i] for i in kept]
    names = [series[number].label for number, _, _ in ends]
    head = common_head(names) if max(map(len, names), default=0) > _SHORT_NAME else ""
    high, beside = scale.floor - scale.top, scale.right + 0.03 * (scale.right - scale.left)
    places = spread([(scale.floor - down) / high for _, _, down in ends], _NAME_GAP, 0.0, 1.0)
    for (number, across, down), name, place in zip(ends, names, places, strict=True):
        at = scale.floor - place * high
        sheet.strokes.append(Stroke(np.array([(across, down), (beside, at)]), ink.lines[number], 0.6))
        label = textwrap.shorten(name[len(head) :], 18, placeholder="…")
        sheet.words.append(Words(label, beside + 2, at + 2.4, ink.words, 6.8))
