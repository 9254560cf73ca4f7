"""One task's curves as SVG that a page draws by itself, in the page's own colours: a hundred of them in a second."""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from evalrun.reporting.figures import FLAT, Series, common_head, value_name
from evalrun.reporting.scales import axis_name, log_limits, log_ticks, rounded, si, spread

_PLAIN, _NAMED = (237.6, 151.2), (295.2, 180.0)  # width and height; the second has names beside its lines
_TOP, _BOTTOM, _RIGHT, _NAMES = 4.0, 27.0, 4.0, 36.0  # margins; the last has room for names
_LETTER = 3.9  # width of a letter of 7 units
_SHORT_NAME = 8  # letters: up to there a name is written whole
_MOST_NAMES, _NAME_GAP = 14, 0.066  # how many of them have room, and how far apart, in heights of the panel
_MARGIN = 0.05  # of the range of values, above and below
_FONT = "font-family: 'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
_MARKED = 20  # points of a line; beyond, markers merge into a thicker line that says nothing


@dataclass(frozen=True)
class PanelScale:
    """Where values lie in a panel, in units of its drawing; down is larger."""

    width: float
    height: float
    left: float
    right: float  # where the axis across ends
    across: tuple[float, float]  # log10 of its ends
    up: tuple[float, float]  # values at its ends
    ticks: list[float]  # values

    @property
    def floor(self) -> float:
        """Where the axis across lies."""
        return self.height - _BOTTOM

    def place(self, x: Iterable[float], y: Iterable[float]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        """Positions (points, 2) of values on both axes."""
        of_x, of_y = np.log10(np.asarray(x, dtype="float64")), np.asarray(y, dtype="float64")
        (low, high), (bottom, top) = self.across, self.up
        share, risen = (of_x - low) / (high - low), (of_y - bottom) / (top - bottom)
        return np.column_stack([self.left + share * (self.right - self.left), self.floor - risen * (self.floor - _TOP)])


def scale_of(rows: pd.DataFrame, curves: pd.DataFrame, x: str, named: bool) -> PanelScale:
    """The scales of a task's panel: all of its lines, bands and chance fit in; a flat curve spans 0.02 at least.

    Args:
        rows: The task's, with positive values of `x`.
        curves: The lines' points with value and stderr.
        x: Column of the horizontal axis.
        named: Whether names stand beside the lines.
    """
    width, height = _NAMED if named else _PLAIN
    low, high = log_limits(rows[x]) if len(rows) else (1.0, 10.0)
    error = curves["stderr"].fillna(0.0)
    shown = pd.concat([rows["value"], curves["value"] - error, curves["value"] + error, rows["chance"].dropna()[:1]])
    bottom, top = (float(shown.min()), float(shown.max())) if shown.notna().any() else (0.0, 1.0)
    bottom, top = bottom - _MARGIN * (top - bottom), top + _MARGIN * (top - bottom)
    if top - bottom < FLAT:
        bottom, top = (bottom + top - FLAT) / 2, (bottom + top + FLAT) / 2
    ticks = [float(at) for at in MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]).tick_values(bottom, top)]
    ticks = [at for at in ticks if bottom <= at <= top]
    left = max((len(label) for label in tick_labels(ticks)), default=1) * _LETTER + 6 + (11 if named else 0)
    right = width - (_NAMES if named else _RIGHT)
    return PanelScale(width, height, left, right, (math.log10(low), math.log10(high)), (bottom, top), ticks)


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """Values with as few decimals as tell them apart."""
    if ticks and max(map(abs, ticks)) >= 1e5:
        return [si(at) if at > 0 else f"−{si(-at)}" if at < 0 else "0" for at in ticks]
    digits = next((d for d in range(9) if all(abs(round(at, d) - at) < 1e-9 for at in ticks)), 9)
    return [f"{at:.{digits}f}".replace("-", "−") for at in ticks]


def draw_panel(
    rows: pd.DataFrame,
    curves: pd.DataFrame,
    series: Sequence[Series],
    colors: Sequence[str],
    scale: PanelScale,
    x: str,
    by: str,
    named: bool,
) -> str:
    """The drawing: bands, lines (a thin one for each of several seeds), chance, axes, and names at the lines' ends.

    Args:
        rows: The task's, with positive values of `x`.
        curves: Columns `by`, `x`, value and stderr: a line's means, sorted by both.
        series: The study's models, or steps.
        colors: What the page calls each one's colour.
        scale: What `scale_of` returns.
        x: Column of the horizontal axis.
        by: Column whose values are lines: model or step.
        named: Write each line's name at its end.
    """
    own = dict(list(curves.groupby(by, sort=False)))
    seeds = {key: part for key, part in rows.groupby(by, sort=False) if part["seed"].nunique(dropna=False) > 1}
    bands, lines, ends = [], [], []
    for line, color in zip(series, colors, strict=True):
        if line.key not in own:
            continue
        curve = own[line.key]
        at = scale.place(curve[x], curve["value"])
        ends.append((line, color, float(at[-1, 0]), float(at[-1, 1])))
        dashes = "" if line.dashes == "-" else f"; stroke-dasharray: {' '.join(f'{1.2 * d:g}' for d in line.dashes[1])}"
        if line.key in seeds:
            for _, one in seeds[line.key].groupby("seed", dropna=False):
                one = one.sort_values(x)
                thin = scale.place(one[x], one["value"])
                lines.append(_line(thin, f"stroke: {color}; stroke-width: .4; stroke-opacity: .45{dashes}"))
        elif curve["stderr"].notna().any():
            error = curve["stderr"].fillna(0.0)
            low, high = (scale.place(curve[x], curve["value"] + sign * error) for sign in (-1, 1))
            style = f"fill: {color}; fill-opacity: {0.24 / math.sqrt(len(series)):.3f}"
            bands.append(f'<polygon points="{_points(np.concatenate([low, high[::-1]]))}" style="{style}"/>')
        lines.append(_line(at, f"stroke: {color}; stroke-width: 1.2{dashes}"))
        if len(at) <= _MARKED:  # a line of no length with round ends is a dot: all of a curve's in one element
            dots = "".join(f"M{across:.1f} {down:.1f}h0" for across, down in at)
            lines.append(f'<path d="{dots}" style="stroke: {color}; stroke-width: 2.4"/>')
    body = [f'<g stroke="none">{"".join(bands)}</g>', _chance(rows, scale), "".join(lines), _axes(rows, scale, x, by)]
    body += [_title_of_values(rows, scale), _names(ends, scale)] if named else []
    head = f'<svg viewBox="0 0 {scale.width:g} {scale.height:g}" aria-hidden="true" fill="none" '
    return f'{head}stroke-linecap="round" stroke-linejoin="round">{"".join(body)}</svg>'


def _points(at: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> str:
    return " ".join(f"{across:.1f},{down:.1f}" for across, down in at.tolist())


def _line(at: np.ndarray[tuple[int, int], np.dtype[np.float64]], style: str) -> str:
    return f'<polyline points="{_points(at)}" style="{style}"/>'


def _text(words: str, across: float, down: float, anchor: str, size: float = 7, more: str = "") -> str:
    style = f"font-size: {size:g}px; {_FONT}; text-anchor: {anchor}; fill: var(--ink)"
    return f'<text x="{across:.1f}" y="{down:.1f}" style="{style}"{more}>{html.escape(words)}</text>'


def _chance(rows: pd.DataFrame, scale: PanelScale) -> str:
    """The dashed line, where chance is known."""
    chance = rows["chance"].dropna()
    if chance.empty:
        return ""
    low, high = scale.up
    down = scale.floor - (float(chance.iloc[0]) - low) / (high - low) * (scale.floor - _TOP)
    style = "stroke: var(--faint); stroke-width: .8; stroke-dasharray: 2.4 2; stroke-linecap: butt"
    return f'<path d="M{scale.left:.1f} {down:.1f}H{scale.right:.1f}" style="{style}"/>'


def _axes(rows: pd.DataFrame, scale: PanelScale, x: str, by: str) -> str:
    """Both axes with ticks and their labels, and the name of the one across."""
    floor, low, high = scale.floor, *scale.up
    path = f"M{scale.left:.1f} {_TOP}V{floor:.1f}H{scale.right:.1f}"
    said = []
    known = sorted(set(rows[x].tolist()))
    at = log_ticks(known[0], known[-1], 5, known if by == "step" else None) if known else []
    for tick, across in zip(at, scale.place(at, [low] * len(at))[:, 0].tolist(), strict=True):
        path += f"M{across:.1f} {floor:.1f}v2.5"
        said.append(_text(rounded(tick), across, floor + 10, "middle"))
    for tick, label in zip(scale.ticks, tick_labels(scale.ticks), strict=True):
        down = floor - (tick - low) / (high - low) * (floor - _TOP)
        path += f"M{scale.left:.1f} {down:.1f}h-2.5"
        said.append(_text(label, scale.left - 4.5, down + 2.5, "end"))
    said.append(_text(axis_name(rows, x), (scale.left + scale.right) / 2, scale.height - 5, "middle"))
    style = "stroke: var(--faint); stroke-width: .6; stroke-linecap: square; stroke-linejoin: miter"
    return f'<path d="{path}" style="{style}"/>{"".join(said)}'


def _title_of_values(rows: pd.DataFrame, scale: PanelScale) -> str:
    down = (_TOP + scale.floor) / 2
    return _text(value_name(rows), 7, down, "middle", more=f' transform="rotate(-90 7 {down:.1f})"')


def _names(ends: list[tuple[Series, str, float, float]], scale: PanelScale) -> str:
    """Names beside the lines' ends, each with a leader; of many models as many as there is room for."""
    kept = sorted({round(i) for i in np.linspace(0, len(ends) - 1, min(_MOST_NAMES, len(ends)))})
    ends = [ends[i] for i in kept]
    names = [line.label for line, _, _, _ in ends]
    head = common_head(names) if max(map(len, names), default=0) > _SHORT_NAME else ""
    high, beside = scale.floor - _TOP, scale.right + 0.03 * (scale.right - scale.left)
    places = spread([(scale.floor - down) / high for _, _, _, down in ends], _NAME_GAP, 0.0, 1.0)
    drawn = []
    for (line, color, across, down), place in zip(ends, places, strict=True):
        at = scale.floor - place * high
        style = f"stroke: {color}; stroke-width: .6"
        drawn.append(f'<path d="M{across:.1f} {down:.1f}L{beside:.1f} {at:.1f}" style="{style}"/>')
        label = textwrap.shorten(line.label[len(head) :], 18, placeholder="…")
        drawn.append(_text(label, beside + 2, at + 2.4, "start", 6.8))
    return "".join(drawn)
