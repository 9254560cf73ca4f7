"""A drawing: lines, areas and words on a sheet, which is written as SVG by itself or as PNG and PDF by matplotlib.

It is made once and holds numbers alone, so that a picture costs what its lines cost: no axes, ticks or layout are
worked out by whoever writes it. Units are points (1/72 inch) from the upper left corner; down is larger.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

Points = np.ndarray[tuple[int, int], np.dtype[np.float64]]  # (points, 2): across and down

FONTS = ["Helvetica Neue", "Helvetica", "Arial", "Liberation Sans", "DejaVu Sans"]
_FAMILY = ", ".join(f"'{name}'" if " " in name else name for name in FONTS) + ", sans-serif"


@dataclass(frozen=True)
class Stroke:
    """A line through points."""

    at: Points
    color: str
    width: float = 1.2
    dashes: tuple[float, ...] = ()  # lengths of marks and gaps in turn; none for a whole line
    opacity: float = 1.0


@dataclass(frozen=True)
class Rules:
    """Straight lines with blunt ends, each from one point to another: axes and their ticks."""

    ends: Sequence[tuple[float, float, float, float]]  # across, down, across, down
    color: str
    width: float = 0.6
    dashes: tuple[float, ...] = ()


@dataclass(frozen=True)
class Dots:
    """A disc at each point."""

    at: Points
    color: str
    size: float = 2.4  # across


@dataclass(frozen=True)
class Area:
    """A filled polygon."""

    at: Points
    color: str
    opacity: float = 1.0
    edge: str = ""  # colour of a thin line around it; none where empty


@dataclass(frozen=True)
class Words:
    """A line of text."""

    text: str
    across: float
    down: float  # of its base line
    color: str
    size: float = 7.0
    anchor: str = "start"  # or middle, end
    is_bold: bool = False
    is_italic: bool = False
    is_upward: bool = False  # read from below


@dataclass
class Drawing:
    """Marks on a sheet: areas lie lowest, then rules, strokes, dots, and words above all."""

    width: float
    height: float
    areas: list[Area] = field(default_factory=list)
    rules: list[Rules] = field(default_factory=list)
    strokes: list[Stroke] = field(default_factory=list)
    dots: list[Dots] = field(default_factory=list)
    words: list[Words] = field(default_factory=list)

    def svg(self, alone: bool = True) -> str:
        """The drawing as SVG.

        Args:
            alone: As a file on white; else as a part of a page, whose colours may be the page's variables.
        """
        marks = [
            *map(_area, self.areas),
            *map(_rules, self.rules),
            *map(_stroke, self.strokes),
            *map(_dots, self.dots),
            *map(_words, self.words),
        ]
        box = f'viewBox="0 0 {self.width:g} {self.height:g}" font-family="{_FAMILY}" fill="none" '
        box += 'stroke-linecap="round" stroke-linejoin="round"'
        if not alone:
            return f'<svg {box} aria-hidden="true">{"".join(marks)}</svg>'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width:g}pt" height="{self.height:g}pt" {box}>'
        ground = f'<rect width="{self.width:g}" height="{self.height:g}" style="fill: #ffffff"/>'
        return f'<?xml version="1.0" encoding="utf-8"?>\n{head}\n{ground}\n' + "\n".join(marks) + "\n</svg>\n"


def pairs(at: Points) -> str:
    """Points as SVG writes them: `1.0,2.5 3.0,4.5`."""
    return ("%.1f,%.1f " * len(at))[:-1] % tuple(at.ravel().tolist())


def _area(area: Area) -> str:
    opacity = f"; fill-opacity: {area.opacity:.3f}" if area.opacity < 1 else ""
    edge = f"; stroke: {area.edge}; stroke-width: .4" if area.edge else ""
    return f'<polygon points="{pairs(area.at)}" style="fill: {area.color}{opacity}{edge}"/>'


def _stroke(line: Stroke) -> str:
    style = f"stroke: {line.color}; stroke-width: {line.width:g}"
    if line.opacity < 1:
        style += f"; stroke-opacity: {line.opacity:g}"
    return f'<polyline points="{pairs(line.at)}" style="{style}{_dashed(line.dashes)}"/>'


def _rules(rules: Rules) -> str:
    path = "".join(f"M{x:.1f} {y:.1f}L{to_x:.1f} {to_y:.1f}" for x, y, to_x, to_y in rules.ends)
    ends = "butt" if rules.dashes else "square"
    style = f"stroke: {rules.color}; stroke-width: {rules.width:g}; stroke-linecap: {ends}{_dashed(rules.dashes)}"
    return f'<path d="{path}" style="{style}"/>'


def _dashed(dashes: tuple[float, ...]) -> str:
    return f"; stroke-dasharray: {' '.join(f'{length:g}' for length in dashes)}" if dashes else ""


def _dots(dots: Dots) -> str:
    """A line of no length with round ends is a dot: all of a curve's in one element."""
    path = ("M%.1f %.1fh0" * len(dots.at)) % tuple(dots.at.ravel().tolist())
    return f'<path d="{path}" style="stroke: {dots.color}; stroke-width: {dots.size:g}"/>'


def _words(words: Words) -> str:
    style = f"font-size: {words.size:g}px; text-anchor: {words.anchor}; fill: {words.color}"
    style += "; font-weight: bold" if words.is_bold else ""
    style += "; font-style: italic" if words.is_italic else ""
    place = f'x="{words.across:.1f}" y="{words.down:.1f}"'
    turn = f' transform="rotate(-90 {words.across:.1f} {words.down:.1f})"' if words.is_upward else ""
    return f'<text {place} style="{style}"{turn}>{html.escape(words.text)}</text>'
