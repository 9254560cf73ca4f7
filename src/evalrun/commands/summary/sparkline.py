"""A curve as a line of characters, and the scale that it is drawn on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_BLOCKS, _ASCII = "▁▂▃▄▅▆▇█", "_.:-=+*#"
_SPAN = 0.2  # the least that a scale of shares covers: noise shall not look like a trend


@dataclass(frozen=True)
class Scale:
    """The values of the lowest and of the highest mark."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{number(self.low)} to {number(self.high)}"


def scale_of(values: Sequence[float]) -> Scale | None:
    """A scale that holds all values: of shares from one tenth to another, else from the least to the largest."""
    there = [value for value in values if math.isfinite(value)]
    if not there:
        return None
    low, high = min(there), max(there)
    if not 0 <= low <= high <= 1:
        return Scale(low, high)
    low, high = math.floor(10 * low + 1e-9) / 10, math.ceil(10 * high - 1e-9) / 10
    if high - low < _SPAN - 1e-9:
        high = min(1.0, low + _SPAN)
        low = max(0.0, high - _SPAN)
    return Scale(low, high)


def marks(values: Sequence[float], width: int, scale: Scale, encoding: str) -> str:
    """A character for each value; where there are more than fit, for some of them, the first and the last included.

    Args:
        values: In order; NaN is a gap.
        width: Characters at most.
        scale: As `scale_of` gives it.
        encoding: Of the stream: plain characters where it has no blocks.
    """
    ramp, gap = (_BLOCKS, "·") if _can(encoding) else (_ASCII, " ")
    size, last = min(width, len(values)), len(values) - 1
    drawn = []
    for value in values if size == len(values) else [values[round(i * last / (size - 1))] for i in range(size)]:
        if not math.isfinite(value):
            drawn.append(gap)
            continue
        share = (value - scale.low) / (scale.high - scale.low) if scale.high > scale.low else 0.5
        drawn.append(ramp[min(len(ramp) - 1, max(0, int(share * len(ramp))))])
    return "".join(drawn)


def gap(encoding: str) -> str:
    """What stands for a step without a result, in words for a legend."""
    return "·" if _can(encoding) else "blank"


def number(value: float) -> str:
    """Two decimals of what is below ten, else three digits."""
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.3g}"


def _can(encoding: str) -> bool:
    try:
        (_BLOCKS + "·").encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
