"""What three standard tests say of each curve, beside the label that its moves give it.

A test's finding, at level alpha:

- *quadratic*: U-shaped or inverted-U where Lind & Mehlum's test says so; else rising or falling by the slope at the
  middle of the axis, if the straight-line part of the parabola is significant; else none.
- *two lines*: U-shaped or inverted-U where both slopes are significant and opposite; else rising or falling where a
  slope is significant; else none.
- *broken line*: the same of its two slopes, given the break.

A finding supports a label as `_SUPPORTS` says. For an emergent rise or a late drop the broken line must also have an
identified break in the second half of the axis, with a significant rise (fall) after it.

Lower-is-better metrics are turned round, as in `shapes`: slopes and coefficients are of values where up means better.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from evalrun.core.stages import stage
from evalrun.statistics.shapes.breaks import broken_line
from evalrun.statistics.shapes.curve_tests import Flags, KnownVariance, distinct, quadratic, two_lines
from evalrun.statistics.shapes.curves import CurveSet
from evalrun.statistics.shapes.noise import Array

COLUMNS = [
    *("task", "title", "model", "n_params", "seed", "label", "points"),
    *("quadratic", "curvature", "curvature_stderr", "curvature_p", "turn", "turn_low", "turn_high"),
    *("slope_first", "slope_last", "u_p"),
    *("two_lines", "two_lines_at", "two_lines_before", "two_lines_before_p", "two_lines_after", "two_lines_after_p"),
    *("broken_line", "break_at", "break_low", "break_high", "break_value", "break_identified"),
    *("break_before", "break_before_p", "break_after", "break_after_p", "break_gain"),
    *("agrees", "note"),
]
TESTS = {"quadratic": "quadratic", "two_lines": "two lines", "broken_line": "broken line"}  # column -> name
_FOUND = ["U-shaped", "inverted-U", "rising", "falling"]
_SUPPORTS = {
    "positive": {"rising"},
    "emergent": {"rising"},
    "inverse": {"falling"},
    "late drop": {"falling", "inverted-U"},
    "U-shaped": {"U-shaped"},
    "inverted-U": {"inverted-U"},
    "non-monotonic": {"U-shaped", "inverted-U"},
    "flat": {"none"},
    "undecided": {"none"},
}


def run_shape_tests(curves: CurveSet, alpha: float) -> pd.DataFrame:
    """Test every curve by the quadratic, the two lines and the broken line.

    Variances are those that the labels rest on (`noise`): item sampling and training noise, never less than the
    scatter about a fit.

    Args:
        curves: Over training or over size.
        alpha: Level of the tests; intervals are of 1 - alpha.

    Returns:
        One row for each curve, with the columns of `COLUMNS` from quadratic to note but without agrees, and late: 1 or
        -1 where an identified break in the second half of the axis is followed by a rise or a fall. Turning points and
        breaks are in units of the axis (tokens, FLOPs, parameters), slopes in units of the metric for each factor of
        ten, curvature for its square. quadratic, two_lines and broken_line are the findings. What could not be fitted
        is NaN and `note` says why.
    """
    frames = [_test(curves, at, alpha).set_index(which) for which, at in curves.batches()]
    if not frames:
        return pd.DataFrame(columns=[*COLUMNS[7:], "late"])
    return pd.concat(frames).sort_index()


@stage("shapes and falls")
def with_agreement(tests: pd.DataFrame, shapes: pd.DataFrame) -> pd.DataFrame:
    """The tests beside the labels, and which of them support each.

    Args:
        tests: What `run_shape_tests` returns.
        shapes: What `describe_shapes` returns for the same curves.

    Returns:
        One row for each task, model and seed, with the columns of `COLUMNS`; agrees are the tests that support the
        label, joined by commas.
    """
    if shapes.empty:
        return pd.DataFrame(columns=COLUMNS)
    about = shapes[["task", "title", "model", "n_params", "seed", "label", "points"]]
    frame = pd.concat([about.reset_index(drop=True), tests.reset_index(drop=True)], axis=1)
    frame["agrees"] = _agreement(frame)
    return frame[COLUMNS]


def _known_errors(curves: CurveSet, at: np.ndarray[Any, Any]) -> KnownVariance:
    """The variances of some curves, for the tests: 0, of curves that do not vary at all, is replaced by a trifle."""
    variance = curves.noise.total[at]
    variance = np.where(np.isfinite(variance), variance, 1.0)  # of fewer than three points, which no test is fitted to
    floor = 1e-12 * np.maximum(np.square(curves.up[at]).max(axis=1, keepdims=True), 1e-12)
    return KnownVariance(np.maximum(variance, floor), curves.noise.df[at[:, 0]])


def _test(curves: CurveSet, at: np.ndarray[Any, Any], alpha: float) -> pd.DataFrame:
    """The tests of curves that have the same number of points.

    Args:
        curves: All of them.
        at: Places of the points, a row a curve.
        alpha: Level of tests and intervals.

    Returns:
        A row a curve, in the order of `at`; places in tokens, slopes by decade of tokens, up is better.
    """
    x, y, known = curves.x[at], curves.up[at], _known_errors(curves, at)
    bent, two, broken = quadratic(x, y, known, alpha), two_lines(x, y, known), broken_line(x, y, known, alpha)
    middle = (bent.slope_first + bent.slope_last) / 2
    straight = np.where(bent.p_middle < alpha, np.sign(middle), 0.0)
    turned = np.where(bent.p_u < alpha, np.sign(bent.coefficient), 0.0)
    late = broken.identified & (broken.turn >= (x[:, 0] + x[:, -1]) / 2) & (broken.p_after < alpha)
    return pd.DataFrame(
        {
            "quadratic": np.select([turned > 0, turned < 0, straight > 0, straight < 0], _FOUND, "none"),
            "curvature": bent.coefficient,
            "curvature_stderr": bent.stderr,
            "curvature_p": bent.p,
            "turn": _raised(bent.turn),
            "turn_low": _raised(bent.turn_low),
            "turn_high": _raised(bent.turn_high),
            "slope_first": bent.slope_first,
            "slope_last": bent.slope_last,
            "u_p": bent.p_u,
            "two_lines": _found(two.slope_before, two.p_before, two.slope_after, two.p_after, alpha),
            "two_lines_at": _raised(two.turn),
            "two_lines_before": two.slope_before,
            "two_lines_before_p": two.p_before,
            "two_lines_after": two.slope_after,
            "two_lines_after_p": two.p_after,
            "broken_line": _found(broken.slope_before, broken.p_before, broken.slope_after, broken.p_after, alpha),
            "break_at": _raised(broken.turn),
            "break_low": _raised(broken.turn_low),
            "break_high": _raised(broken.turn_high),
            "break_value": broken.value,
            "break_identified": broken.identified,
            "break_before": broken.slope_before,
            "break_before_p": broken.p_before,
            "break_after": broken.slope_after,
            "break_after_p": broken.p_after,
            "break_gain": broken.gain,
            "late": np.where(late, np.sign(broken.slope_after), 0.0),
            "note": _notes(distinct(x), broken.identified),
        }
    )


def _found(before: Array, p_before: Array, after: Array, p_after: Array, alpha: float) -> np.ndarray[Any, Any]:
    first, last = np.where(p_before < alpha, np.sign(before), 0.0), np.where(p_after < alpha, np.sign(after), 0.0)
    return np.select(
        [(first < 0) & (last > 0), (first > 0) & (last < 0), first + last > 0, first + last < 0], _FOUND, "none"
    )


def _agreement(frame: pd.DataFrame) -> list[str]:
    """Which tests support each row's label."""
    told = []
    for label, late, *found in zip(frame["label"], frame["late"], *(frame[test] for test in TESTS), strict=True):
        support = [name for name, one in zip(TESTS.values(), found, strict=True) if one in _SUPPORTS.get(label, set())]
        if label in ("emergent", "late drop") and late != (1 if label == "emergent" else -1):
            support = [name for name in support if name != TESTS["broken_line"]]
        told.append(", ".join(support))
    return told


def _raised(log10: Array) -> Array:
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(10.0**log10)


def _notes(places: np.ndarray[Any, Any], identified: Flags) -> np.ndarray[Any, Any]:
    return np.select(
        [places < 3, places < 5, ~identified],
        [
            "fewer than three points",
            "fewer than five points: no broken line",
            "no break is identified: its interval is the whole range",
        ],
        "",
    )
