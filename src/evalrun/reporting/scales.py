"""Logarithmic axes with labels that people read: 70M ... 12B parameters, 4.2B ... 300B tokens."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

NAMES = {
    "tokens": "Training tokens",
    "flops": "Training compute (FLOPs)",
    "n_params_nominal": "Parameters",
    "n_params": "Parameters",
    "n_params_nonembedding": "Parameters without embeddings",
    "inverse_loss": "Loss, falling to the right",
}
INVERSE_LOSS = "inverse_loss"  # column of 1 / loss: on its logarithmic axis the loss falls to the right
_LOSSES = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8)  # times a power of ten: where losses may be marked
_PAD = 0.04  # of the range, at each end


def axis_name(table: pd.DataFrame, x: str) -> str:
    """What the axis of a column is called; of a suite that counts in steps alone, by its steps."""
    if x == "tokens" and (table["tokens"] == table["step"]).all():
        return "Training steps"
    return NAMES[x]


def log_scale(axes: Axes, values: Iterable[float], sizes: bool = False, most: int = 5) -> None:
    """Make an axes' x logarithmic, fit it to positive values and label it.

    Args:
        axes: What is drawn on.
        values: All values of the axis.
        sizes: Whether they are model sizes: then ticks are at sizes that there are, else at powers of ten.
        most: About how many labels there is room for.
    """
    known = sorted({float(value) for value in values if value > 0})
    if not known:
        return
    low, high = known[0], known[-1]
    axes.set_xscale("log")
    axes.set_xlim(*log_limits(known))
    axes.xaxis.set_major_locator(FixedLocator(log_ticks(low, high, most, known if sizes else None)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: rounded(value)))


def log_limits(values: Iterable[float]) -> tuple[float, float]:
    """The ends of a logarithmic axis that shows positive values."""
    known = list(values)
    low, high = min(known), max(known)
    pad = (high / low) ** _PAD if high > low else 2.0
    return low / pad, high * pad


def log_ticks(low: float, high: float, most: int = 5, between: Sequence[float] | None = None) -> list[float]:
    """Tick positions: both ends of the data, and of what lies between (powers of ten) what has room for its label."""
    if high <= low:
        return [low]
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    inside = [10.0**e for e in decades] if between is None else list(between)
    gap = math.log10(high / low) * 0.75 / most
    kept = [low, high]
    for tick in inside:
        if low < tick < high and all(abs(math.log10(tick / other)) >= gap for other in kept):
            kept.append(float(tick))
    return sorted(kept)


def loss_ticks(known: Sequence[float], most: int) -> list[tuple[float, str]]:
    """Where losses are marked on an axis of 1 / loss, and their labels.

    Args:
        known: Values of 1 / loss, from small to large.
        most: About how many labels there is room for.
    """
    low, high = 1 / known[-1], 1 / known[0]
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    at = [number * 10.0**decade for decade in decades for number in _LOSSES if low <= number * 10.0**decade <= high]
    kept = at[:1] + at[1:][-1:]
    gap = math.log(high / low) * 0.75 / most
    for loss in at:
        if all(abs(math.log(loss / other)) >= gap for other in kept):
            kept.append(loss)
    return [(1 / loss, f"{loss:.3g}") for loss in sorted(kept or [low])]


def rounded(value: float) -> str:
    """A count in two digits: 4.2B of 4,194,304,000."""
    return si(float(f"{value:.2g}"))


def si(value: float) -> str:
    """A count as people write it: 4k, 10M, 1.5B, 2T; larger ones as powers of ten."""
    for size, letter in ((1e15, ""), (1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size * 0.9995:
            return f"{value / size:.3g}{letter}" if letter else f"1e{math.log10(value):.3g}"
    return f"{value:.3g}"


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places for labels, as near as can be to where they are wanted, at least a gap apart and between two ends.

    Args:
        wanted: Where each label is wanted, in any order.
        gap: Least distance between two.
        low: Lowest place.
        high: Highest place; if the labels need more room they run over it.

    Returns:
        A place for each, in the order given.
    """
    order = np.argsort(wanted, kind="stable")
    # Without the gaps the places must only not fall: those that would are pooled at their mean (isotonic regression).
    pools: list[tuple[float, int]] = []  # mean, how many
    for rank, i in enumerate(order):
        mean, count = wanted[i] - rank * gap, 1
        while pools and pools[-1][0] > mean:
            other, more = pools.pop()
            mean, count = (mean * count + other * more) / (count + more), count + more
        pools.append((mean, count))
    means = [mean for mean, count in pools for _ in range(count)]
    highest = high - (len(order) - 1) * gap
    found = [0.0] * len(order)
    for rank, i in enumerate(order):
        found[i] = max(low, min(means[rank], highest)) + rank * gap
    return found
