"""Colours that say how large a model is: the same in the figures, the report and MLflow's charts.

Colour is a sequential scale, viridis (Smith & van der Walt 2015): perceptually uniform, kept by the common kinds of
colour blindness and monotone in lightness, so that a grey print keeps the order of the sizes. Only a part of it is
used: its yellow end is too faint on white paper, its purple end too dark on a dark screen.
"""

from __future__ import annotations

from collections.abc import Sequence

# viridis at 0, 1/16, ..., 1, darkest first.
_STOPS = [
    *("#440154", "#48186a", "#472d7b", "#424086", "#3b528b", "#33638d", "#2c728e", "#26828e", "#21918c"),
    *("#1fa088", "#28ae80", "#3fbc73", "#5ec962", "#84d44b", "#addc30", "#d8e219", "#fde725"),
]
_ON_LIGHT = (0.8, 0.0)  # where on the scale the smallest and the largest model lie: the largest is the darkest
_ON_DARK = (0.36, 0.97)  # and against a dark background the lightest


# Colours that differ for all common kinds of colour vision (Okabe & Ito 2008); yellow, too faint on white, left out.
_FAMILIES = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#1f2328"]
_MARKERS = ["o", "s", "^", "D", "v", "P", "X"]


def family_looks(count: int) -> list[tuple[str, str]]:
    """A colour and a marker for each family: one of both repeats after seven, and the pair after 49."""
    size = len(_FAMILIES)
    return [(_FAMILIES[i % size], _MARKERS[(i + i // size) % size]) for i in range(count)]


def model_colors(n_params: Sequence[float], dark: bool = False) -> list[str]:
    """Give each model the colour of its size's rank.

    Ranks, not logarithms, set the spacing: sizes that lie close together stay apart to the eye.

    Args:
        n_params: Parameter counts, in any order; equal counts get equal colours.
        dark: Colours for a dark background.

    Returns:
        One `#rrggbb` for each count, in the order given.
    """
    sizes = sorted(set(n_params))
    first, last = _ON_DARK if dark else _ON_LIGHT
    # A single size takes the prominent end, not the faint one.
    place = {
        size: last if len(sizes) == 1 else first + (last - first) * i / (len(sizes) - 1) for i, size in enumerate(sizes)
    }
    return [_at(place[size]) for size in n_params]


def _at(position: float) -> str:
    """The colour at a position in [0, 1], linear between the stops."""
    scaled = position * (len(_STOPS) - 1)
    low = min(int(scaled), len(_STOPS) - 2)
    share = scaled - low
    pairs = zip(_channels(_STOPS[low]), _channels(_STOPS[low + 1]), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def _channels(color: str) -> list[int]:
    return [int(color[i : i + 2], 16) for i in (1, 3, 5)]
