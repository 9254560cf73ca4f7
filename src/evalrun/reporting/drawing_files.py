"""A drawing as PNG and PDF: its marks handed to matplotlib as they are, a collection of each kind."""

from __future__ import annotations

import io
import warnings
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import EllipseCollection, LineCollection, PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from evalrun.reporting.drawing import Drawing, Words
from evalrun.reporting.figures import STYLE

# Without a date and with fixed ids the same results give the same bytes.
_UNDATED: dict[str, dict[str, None]] = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}


def saved(drawing: Drawing, kinds: tuple[str, ...]) -> dict[str, bytes]:
    """The drawing in each format, the same bytes for the same drawing.

    Args:
        drawing: What is to be seen.
        kinds: Endings: svg, png, pdf.
    """
    own = {"svg": drawing.svg().encode()} if "svg" in kinds else {}
    others = tuple(kind for kind in kinds if kind != "svg")
    if not others:
        return own
    return own | figure_bytes(as_figure(drawing), others)


def figure_bytes(figure: Figure, kinds: tuple[str, ...]) -> dict[str, bytes]:
    """A figure of matplotlib's in each format, the same bytes for the same figure.

    Args:
        figure: What is to be seen.
        kinds: Endings: svg, png, pdf.
    """
    images = {}
    with mpl.rc_context({**STYLE, "svg.hashsalt": "evalrun"}), warnings.catch_warnings():
        # A title in a script that the fonts lack shows boxes; that is no reason to fail.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        for kind in kinds:
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, metadata=_UNDATED[kind])
            figure.set_layout_engine("none")  # laid out now: half of the time of the next format
            images[kind] = buffer.getvalue()
    return images


def as_figure(drawing: Drawing) -> Figure:
    """The drawing on one axes that is the whole figure and counts in points."""
    figure = Figure(figsize=(drawing.width / 72, drawing.height / 72))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, drawing.width)
    axes.set_ylim(drawing.height, 0)
    _fill(axes, drawing)
    _rule(axes, drawing)
    axes.add_collection(
        LineCollection(
            [line.at for line in drawing.strokes],
            colors=[to_rgba(line.color, line.opacity) for line in drawing.strokes],
            linewidths=[line.width for line in drawing.strokes],
            linestyles=[_style(line.dashes, line.width) for line in drawing.strokes],
            capstyle="round",
            joinstyle="round",
            zorder=3,
        ),
        autolim=False,
    )
    for dots in drawing.dots:
        size = [dots.size] * len(dots.at)
        discs = EllipseCollection(
            size, size, [0.0] * len(size), units="x", offsets=dots.at, facecolors=dots.color, linewidths=0, zorder=4,
            offset_transform=axes.transData,
        )  # fmt: skip
        axes.add_collection(discs, autolim=False)
    with mpl.rc_context(STYLE):
        for words in drawing.words:
            _say(axes, words)
    return figure


def _fill(axes: Axes, drawing: Drawing) -> None:
    for is_edged in (False, True):
        areas = [area for area in drawing.areas if bool(area.edge) == is_edged]
        polygons = PolyCollection(
            [area.at for area in areas],
            facecolors=[to_rgba(area.color, area.opacity) for area in areas],
            edgecolors=[area.edge for area in areas] if is_edged else "none",
            linewidths=0.4 if is_edged else 0,
            zorder=1,
        )
        axes.add_collection(polygons, autolim=False)


def _rule(axes: Axes, drawing: Drawing) -> None:
    for rules in drawing.rules:
        lines = LineCollection(
            [[(x, y), (to_x, to_y)] for x, y, to_x, to_y in rules.ends],
            colors=rules.color,
            linewidths=rules.width,
            linestyles=[_style(rules.dashes, rules.width)],
            capstyle="projecting" if not rules.dashes else "butt",
            zorder=2,
        )
        axes.add_collection(lines, autolim=False)


def _say(axes: Axes, words: Words) -> None:
    """Write words where they are said to be, a dollar sign as what it is."""
    axes.text(
        words.across,
        words.down,
        words.text,
        color=words.color,
        fontsize=words.size,
        ha={"start": "left", "middle": "center", "end": "right"}[words.anchor],
        va="baseline",
        fontweight="bold" if words.is_bold else "normal",
        fontstyle="italic" if words.is_italic else "normal",
        rotation=90 if words.is_upward else 0,
        rotation_mode="anchor",
        parse_math=False,
    )


def _style(dashes: tuple[float, ...], width: float) -> Any:
    """Dashes as matplotlib counts them, in widths of the line."""
    return (0, tuple(length / width for length in dashes)) if dashes else "solid"
