"""From the moves of a curve that count to its label: see `labels` for the definitions.

Plain arrays: m curves of k points each at once, "up" meaning better.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm

from evalrun.statistics.shapes.moves import Curves, Flags, Moves
from evalrun.statistics.shapes.noise import Array
from evalrun.statistics.shapes.thresholds import ShapeSettings

Places = np.ndarray[Any, np.dtype[np.int64]]
Names = np.ndarray[Any, Any]

LABELS = (
    *("positive", "inverse", "U-shaped", "inverted-U", "emergent", "late drop", "non-monotonic"),
    *("flat", "undecided", "too few points"),
)
FEWEST = 3  # points of a curve; points before an emergent rise or a late drop


@dataclass(frozen=True)
class Labelled:
    """What the moves show; places are positions on the curve, -1 for none."""

    label: Names  # (m,) of LABELS
    start: Places  # (m,)
    turn: Places
    end: Places
    held: Flags  # (m,) whether the curve is level up to the turn
    against_start: Places  # (m,) the largest move that counts against a rise or a fall
    against_end: Places
    falls: Flags  # (m,) whether a fall counts
    rises: Flags
    range_upper: Array  # (m,) upper confidence bound of the range


def label(curves: Curves, moves: Moves, level: float, bent: Names, settings: ShapeSettings) -> Labelled:
    """Label m curves of equally many points.

    Args:
        curves: The curves.
        moves: Their moves.
        level: What a curve may spend: see `moves`.
        bent: (m, tests) what each test of shape finds; empty texts where it could not be made.
        settings: The thresholds.
    """
    m, k = curves.up.shape
    counts = moves.count(level)
    falls, rises = np.where(counts, -moves.size, 0.0).clip(min=0), np.where(counts, moves.size, 0.0).clip(min=0)
    bound = _range_bound(curves, moves, settings.alpha)
    if k < FEWEST:
        none = np.full(m, -1)
        few = np.full(m, "too few points", dtype=object)
        held = np.zeros(m, dtype=bool)
        return Labelled(few, none + 1, none, none + k, held, none, none, _any(falls), _any(rises), bound)
    name, start, turn, end, held = _shapes(curves, moves, falls, rises, level, bent, settings)
    name[(name == "undecided") & (bound <= curves.margin)] = "flat"
    trend = moves.trend(level)
    for told, sign in (("positive", 1), ("inverse", -1)):
        which = (name == "undecided") & (trend == sign)
        name[which] = told
        start[which], end[which] = _largest(sign * moves.size[which])
    against_start, against_end = np.full(m, -1), np.full(m, -1)
    up = curves.up[np.arange(m), end] > curves.up[np.arange(m), start]
    for rising, other in ((True, falls), (False, rises)):
        which = np.isin(name, ("positive", "inverse", "non-monotonic")) & (up == rising) & _any(other)
        against_start[which], against_end[which] = _largest(other[which])
    fell = _any(falls) | ((name == "inverse") & (trend < 0))
    rose = _any(rises) | ((name == "positive") & (trend > 0))
    return Labelled(name, start, turn, end, held, against_start, against_end, fell, rose, bound)


def _any(moves: Array) -> Flags:
    """(m,) whether a curve has any of the moves."""
    return np.asarray((moves > 0).any(axis=(1, 2)))


def _range_bound(curves: Curves, moves: Moves, alpha: float) -> Array:
    """Upper confidence bound of each curve's range, on item errors."""
    reach = float(norm.ppf(1 - alpha)) * np.sqrt(curves.pair_item_variance)
    k = curves.up.shape[1]
    bound: Array = np.where(np.triu(np.ones((k, k), dtype=bool), 1), np.abs(moves.size) + reach, 0.0).max(axis=(1, 2))
    return bound


def _largest(moves: Array) -> tuple[Places, Places]:
    """From where to where each curve's largest move goes; `moves` is (m, k, k)."""
    k = moves.shape[-1]
    start, end = np.divmod(moves.reshape(len(moves), k * k).argmax(axis=1), k)
    return start, end


def _shapes(
    curves: Curves, moves: Moves, falls: Array, rises: Array, level: float, bent: Names, settings: ShapeSettings
) -> tuple[Names, Places, Places, Places, Flags]:
    """Label and points of each curve; `falls` and `rises` are (m, k, k), the sizes of the moves that count."""
    x, up = curves.x, curves.up
    m, k = up.shape
    name = np.full(m, "undecided", dtype=object)
    start, turn, end = np.zeros(m, dtype=np.int64), np.full(m, -1), np.full(m, k - 1)
    fall, rise = falls.max(axis=(1, 2)), rises.max(axis=(1, 2))
    axis = (x - x[:, :1]) / np.maximum(x[:, -1:] - x[:, :1], 1e-12)
    some = np.arange(m)

    def put(which: Flags, told: str, largest: Array) -> None:
        name[which] = told
        start[which], end[which] = _largest(largest[which])

    put(rise > 0, "positive", rises)
    put(fall > rise, "inverse", falls)
    neither = (fall > 0) & (rise > 0) & (np.maximum(fall, rise) < settings.prevails * np.minimum(fall, rise))
    name[neither] = "non-monotonic"
    emergent, last_level = _emergent(axis, x, up, moves, level, settings)
    emergent &= (rise > 0) & (fall == 0)
    name[emergent], start[emergent] = "emergent", 0
    turn[emergent], end[emergent] = last_level[emergent], up.argmax(axis=1)[emergent]
    late, last_good, lowest = _late_drop(axis, up, falls, rises, settings)
    late &= fall > rise
    name[late], start[late], turn[late], end[late] = "late drop", 0, last_good[late], lowest[late]

    u_arm, u_turn = _turns(falls, rises)
    n_arm, n_turn = _turns(rises, falls)
    is_late = axis[some, n_turn] >= settings.late_from - 1e-9
    for told, arm, other, at, first, then in (
        ("U-shaped", u_arm, n_arm, u_turn, falls, rises),
        ("inverted-U", n_arm, u_arm, n_turn, rises, falls),
    ):
        agreed = (bent == told).any(axis=1) | (bent == "").all(axis=1)
        if told == "inverted-U":
            agreed |= is_late & (bent == "falling").any(axis=1)
        best = (arm > 0) & agreed & ((arm >= other) if told == "U-shaped" else (arm > other))
        name[best], turn[best] = told, at[best]
        start[best] = first[some, :, at].argmax(axis=1)[best]
        end[best] = then[some, at, :].argmax(axis=1)[best]
    held = np.isin(name, ("emergent", "late drop"))
    name[(name == "inverted-U") & is_late] = "late drop"
    return name, start, turn, end, held


def _turns(first: Array, then: Array) -> tuple[Array, Places]:
    """The turn whose lesser arm is the longest, and this arm's length: 0 where there is no turn.

    Both arms are counted from the curve's ends: a U lies below where training began, and ends above its turn.
    """
    arm = np.minimum(first[:, 0, :], then[:, :, -1])
    return arm.max(axis=1), arm.argmax(axis=1)


def _emergent(
    axis: Array, x: Array, up: Array, moves: Moves, level: float, settings: ShapeSettings
) -> tuple[Flags, Places]:
    """Whether a rise is late and sudden, and the last point before it."""
    m, k = up.shape
    beyond = moves.t > moves.threshold(level)[:, None, None]
    risen = beyond[:, 0, :]
    onset = np.where(risen.any(axis=1), risen.argmax(axis=1), 0)
    place = np.arange(k)
    ahead = place[None, :] - place[:, None]
    within = float(np.log10(settings.jump_within))
    close = (x[:, None, :] - x[:, :, None] <= within + 1e-9) | (ahead == 1)
    sudden = close & beyond & (place >= onset[:, None] - 1)[:, :, None]
    jump = np.where(sudden, up[:, None, :] - up[:, :, None], -np.inf).max(axis=2)
    whole = up.max(axis=1) - up[:, 0]
    before = axis[np.arange(m), np.maximum(onset - 1, 0)]
    shown = (onset >= FEWEST) & (before >= settings.level_over) & (jump.max(axis=1) >= settings.jump_share * whole)
    return shown, jump.argmax(axis=1)


def _late_drop(
    axis: Array, up: Array, falls: Array, rises: Array, settings: ShapeSettings
) -> tuple[Flags, Places, Places]:
    """Whether all that counts of a fall is late, the last point near the best, and the lowest after the best."""
    m, k = up.shape
    places = np.arange(k)
    best = up.argmax(axis=1)
    lowest = np.where(places >= best[:, None], up, np.inf).argmin(axis=1)
    whole = up.max(axis=1) - up[np.arange(m), lowest]
    ends = falls.max(axis=1) > 0  # (m, k): a fall that counts ends here
    early = axis < settings.late_from - 1e-9
    lost = np.where(early, np.maximum.accumulate(up, axis=1) - up, 0.0).max(axis=1)
    recovers = ((rises.max(axis=2) > 0) & (places >= ends.argmax(axis=1)[:, None])).any(axis=1)
    shown = ends.any(axis=1) & ~(ends & early).any(axis=1) & (lost <= settings.held_loss * whole) & ~recovers
    shown &= ends.argmax(axis=1) >= FEWEST
    near = (up >= (up.max(axis=1) - settings.held_loss * whole)[:, None] - 1e-12) & (places < lowest[:, None])
    return shown, k - 1 - near[:, ::-1].argmax(axis=1), lowest
