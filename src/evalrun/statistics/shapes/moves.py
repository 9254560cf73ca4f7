"""Which rises and falls of a curve count, and the label that they give it: see `labels` for the definitions.

Plain arrays: m curves of k points each at once, "up" meaning better.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

Array = np.ndarray[Any, np.dtype[np.float64]]
Places = np.ndarray[Any, np.dtype[np.int64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]

LABELS = (
    *("positive", "inverse", "U-shaped", "inverted-U", "emergent", "late drop"),
    *("flat", "undecided", "too few points"),
)
ALPHA = 0.05
_SHARE = 0.2  # of the curve's range, for a move to count
_FEWEST = 3  # points of a curve; points before an emergent rise or a late drop
_LATE = 2 / 3  # of the log axis
_LOST = 0.4  # of the whole fall, at most, at a point near the best
_SUDDEN = float(np.log10(2))
_PAIRS = 2_000_000  # at once: some 200 MB


@dataclass(frozen=True)
class Curves:
    """m curves of k points each, in order of x."""

    x: Array  # (m, k) log10 of the axis
    up: Array  # (m, k)
    items: Array  # (m, k) variance by item sampling
    total: Array  # (m, k) variance with training noise
    df: Array  # (m,) degrees of freedom of the total variance

    def __getitem__(self, some: slice) -> Curves:
        return Curves(self.x[some], self.up[some], self.items[some], self.total[some], self.df[some])


@dataclass(frozen=True)
class Labelled:
    """What the moves show; places are positions on the curve, -1 for none."""

    label: np.ndarray[Any, Any]  # (m,) of LABELS
    start: Places  # (m,)
    turn: Places
    end: Places
    held: Flags  # (m,) whether the curve is level up to the turn
    fall_z: Array  # (m,) the strongest fall in standard errors, at most 0
    rise_z: Array  # (m,) the strongest rise, at least 0
    trend_z: Array  # (m,) the straight line's slope in standard errors
    threshold: Array  # (m,) what all three are compared with
    range_upper: Array  # (m,) upper confidence bound of the range


def label_curves(curves: Curves, flat_within: float) -> Labelled:
    """Label m curves of equally many points.

    Args:
        curves: The curves.
        flat_within: How far the best and the worst point of a flat curve may lie apart.

    Returns:
        Labels and the points that show them.
    """
    m, k = curves.up.shape
    size = max(1, _PAIRS // (k * k))
    parts = [_label(curves[slice(at, at + size)], flat_within) for at in range(0, m, size)]
    return Labelled(*(np.concatenate([getattr(part, name) for part in parts]) for name in Labelled.__annotations__))


def _label(curves: Curves, flat_within: float) -> Labelled:
    """Label curves that have the same number of points, by the moves between all pairs of points and the trend.

    Args:
        curves: Values, up is better, with the variances of their points.
        flat_within: An undecided curve is flat if no move can be larger than this, in units of the value.
    """
    up = curves.up
    m, k = up.shape
    later = np.triu(np.ones((k, k), dtype=bool), 1)
    move = np.where(later, up[:, None, :] - up[:, :, None], 0.0)  # from row to column
    error = np.sqrt(curves.total[:, None, :] + curves.total[:, :, None])
    # An error of 0 is left only where neighbouring differences do not vary at all: any move is then beyond doubt.
    z = np.divide(move, error, out=np.sign(move) * 1e6, where=error > 0)
    comparisons = k * (k - 1) / 2 + 1  # all pairs and the trend
    threshold = student.ppf(1 - ALPHA / 2 / comparisons, curves.df) if k > 1 else np.full(m, np.nan)
    # Differences of decimals such as 0.7 - 0.5 fall a rounding error short of a fifth of the range.
    large = np.abs(move) >= _SHARE * np.ptp(up, axis=1)[:, None, None] * (1 - 1e-9)
    counts = (np.abs(z) > threshold[:, None, None]) & large
    falls, rises = np.where(counts & (z < 0), -move, 0.0), np.where(counts & (z > 0), move, 0.0)
    item_error = np.sqrt(curves.items[:, None, :] + curves.items[:, :, None])
    bound = np.where(later, np.abs(move) + float(norm.ppf(1 - ALPHA)) * item_error, 0.0).max(axis=(1, 2))
    label, start, turn, end, held = _shapes(curves.x, up, z, threshold, falls, rises)
    label[(label == "undecided") & (bound <= flat_within)] = "flat"
    trend = _trend(curves)
    for name, sign in (("positive", 1), ("inverse", -1)):
        which = (label == "undecided") & (sign * trend > threshold)
        label[which] = name
        start[which], end[which] = _largest(sign * move[which])
    return Labelled(label, start, turn, end, held, z.min(axis=(1, 2)), z.max(axis=(1, 2)), trend, threshold, bound)


def _trend(curves: Curves) -> Array:
    """Slope of the straight line by weighted least squares, over its standard error; 0 where there is none."""
    weight = np.divide(1.0, curves.total, out=np.zeros_like(curves.total), where=curves.total > 0)
    whole = np.maximum(weight.sum(axis=1, keepdims=True), 1e-300)
    x = curves.x - (weight * curves.x).sum(axis=1, keepdims=True) / whole
    spread = np.sqrt((weight * x**2).sum(axis=1))
    slope: Array = np.divide((weight * x * curves.up).sum(axis=1), spread, out=np.zeros_like(spread), where=spread > 0)
    return slope


def _largest(moves: Array) -> tuple[Places, Places]:
    """From where to where each curve's largest move goes; `moves` is (m, k, k)."""
    k = moves.shape[-1]
    start, end = np.divmod(moves.reshape(len(moves), k * k).argmax(axis=1), k)
    return start, end


def _shapes(
    x: Array, up: Array, z: Array, threshold: Array, falls: Array, rises: Array
) -> tuple[np.ndarray[Any, Any], Places, Places, Places, Flags]:
    """Label and points of each curve; `falls` and `rises` are (m, k, k), the sizes of the moves that count."""
    m, k = up.shape
    label = np.full(m, "undecided", dtype=object)
    start, turn, end = np.zeros(m, dtype=np.int64), np.full(m, -1), np.full(m, k - 1)
    if k < _FEWEST:
        label[:] = "too few points"
        return label, start, turn, end, np.zeros(m, dtype=bool)
    fall, rise = falls.max(axis=(1, 2)), rises.max(axis=(1, 2))
    axis = (x - x[:, :1]) / np.maximum(x[:, -1:] - x[:, :1], 1e-12)
    some = np.arange(m)

    def put(which: Flags, name: str, moves: Array) -> None:
        label[which] = name
        start[which], end[which] = _largest(moves[which])

    put(rise > 0, "positive", rises)
    put(fall > rise, "inverse", falls)
    emergent, last_level = _emergent(axis, x, up, z, threshold)
    emergent &= (rise > 0) & (fall == 0)
    label[emergent], start[emergent] = "emergent", 0
    turn[emergent], end[emergent] = last_level[emergent], up.argmax(axis=1)[emergent]
    late, last_good, lowest = _late_drop(axis, up, falls, rises)
    late &= label == "inverse"
    label[late], start[late], turn[late], end[late] = "late drop", 0, last_good[late], lowest[late]

    u_arm, u_turn = _turns(falls, rises)
    n_arm, n_turn = _turns(rises, falls)
    for arm, at, name, first, then in (
        (u_arm, u_turn, "U-shaped", falls, rises),
        (n_arm, n_turn, "inverted-U", rises, falls),
    ):
        best = (arm > 0) & ((arm >= u_arm) if name == "U-shaped" else (arm > u_arm))
        label[best], turn[best] = name, at[best]
        start[best] = first[some, :, at].argmax(axis=1)[best]
        end[best] = then[some, at, :].argmax(axis=1)[best]
    held = np.isin(label, ("emergent", "late drop"))
    label[(label == "inverted-U") & (axis[some, turn] >= _LATE - 1e-9)] = "late drop"
    return label, start, turn, end, held


def _turns(first: Array, then: Array) -> tuple[Array, Places]:
    """The turn whose lesser arm is the longest, and this arm's length: 0 where there is no turn."""
    arm = np.minimum(first.max(axis=1), then.max(axis=2))
    return arm.max(axis=1), arm.argmax(axis=1)


def _emergent(axis: Array, x: Array, up: Array, z: Array, threshold: Array) -> tuple[Flags, Places]:
    """Whether a rise is late and sudden, and the last point before it."""
    m, k = up.shape
    risen = z[:, 0, :] > threshold[:, None]
    onset = np.where(risen.any(axis=1), risen.argmax(axis=1), 0)
    place = np.arange(k)
    ahead = place[None, :] - place[:, None]
    close = (x[:, None, :] - x[:, :, None] <= _SUDDEN + 1e-9) | (ahead == 1)
    sudden = close & (z > threshold[:, None, None]) & (place >= onset[:, None] - 1)[:, :, None]
    jump = np.where(sudden, up[:, None, :] - up[:, :, None], -np.inf).max(axis=2)
    whole = up.max(axis=1) - up[:, 0]
    level = axis[np.arange(m), np.maximum(onset - 1, 0)]
    return (onset >= _FEWEST) & (level >= 0.5) & (jump.max(axis=1) >= whole / 2), jump.argmax(axis=1)


def _late_drop(axis: Array, up: Array, falls: Array, rises: Array) -> tuple[Flags, Places, Places]:
    """Whether all that counts of a fall is late, the last point near the best, and the lowest after the best."""
    m, k = up.shape
    places = np.arange(k)
    best = up.argmax(axis=1)
    lowest = np.where(places >= best[:, None], up, np.inf).argmin(axis=1)
    whole = up.max(axis=1) - up[np.arange(m), lowest]
    ends = falls.max(axis=1) > 0  # (m, k): a fall that counts ends here
    early = axis < _LATE - 1e-9
    lost = np.where(early, np.maximum.accumulate(up, axis=1) - up, 0.0).max(axis=1)
    recovers = ((rises.max(axis=2) > 0) & (places >= ends.argmax(axis=1)[:, None])).any(axis=1)
    shown = ends.any(axis=1) & ~(ends & early).any(axis=1) & (lost <= _LOST * whole) & ~recovers
    shown &= ends.argmax(axis=1) >= _FEWEST
    near = (up >= (up.max(axis=1) - _LOST * whole)[:, None] - 1e-12) & (places < lowest[:, None])
    return shown, k - 1 - near[:, ::-1].argmax(axis=1), lowest
