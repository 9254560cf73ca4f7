"""One decision about all curves of a report, which of their moves count: labels, falls and sentences follow from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from evalrun.core.second_process import beside
from evalrun.statistics.shapes.curves import CurveSet, Places
from evalrun.statistics.shapes.evidence import TESTS, run_shape_tests
from evalrun.statistics.shapes.moves import Curves, Moves, moves_of, share_of_curves
from evalrun.statistics.shapes.noise import Array
from evalrun.statistics.shapes.thresholds import ShapeSettings, smallest_changes

_PAIRS = 500_000  # at once: some 50 MB, which stay in the allocator between batches
_PAYS = 20_000  # points from which on a second process tests the curves' shapes


@dataclass(frozen=True)
class Batch:
    """Curves of equally many points."""

    which: Places  # (m,) their places among all curves
    at: Places  # (m, k) positions of their rows
    curves: Curves
    moves: Moves


@dataclass(frozen=True)
class Decision:
    """What a report's curves may be said to do."""

    curves: CurveSet
    settings: ShapeSettings
    margin: Array  # (rows of the curves,) the smallest change of interest
    tests: pd.DataFrame  # evidence.run_shape_tests, a row a curve
    p: Array  # (curves,) corrected within the curve; NaN of one point
    tested: int  # curves
    moved: int  # curves
    share: float  # of alpha, that is a curve's own

    @property
    def level(self) -> float:
        """What each curve may spend on its moves."""
        return self.settings.alpha * self.share

    @property
    def q(self) -> Array:
        """(curves,) p, corrected over the curves too: at most alpha where a curve moves."""
        return self.over_curves(self.p)

    def over_curves(self, p: Array) -> Array:
        """p-values that are corrected within their curve, corrected over the curves too."""
        return np.minimum(p / self.share, 1.0)

    def batches(self) -> Iterator[Batch]:
        """All curves with their moves, a bounded number at once."""
        yield from _batches(self.curves, self.settings, self.margin)


def decide(curves: CurveSet, settings: ShapeSettings) -> Decision:
    """Look at all curves of a report at once.

    Args:
        curves: From `over_training` or `over_size`.
        settings: The thresholds of conf/analysis.
    """
    p, margin = np.full(len(curves.length), np.nan), smallest_changes(curves.rows, settings.smallest_change)
    with beside(partial(run_shape_tests, curves, settings.alpha), stays_here=len(curves.rows) < _PAYS) as tests:
        for batch in _batches(curves, settings, margin):
            p[batch.which] = batch.moves.p()
        tested, moved, share = share_of_curves(p, settings)
        return Decision(curves, settings, margin, tests(), p, tested, moved, share)


def bent(decision: Decision, which: Places) -> np.ndarray[tuple[int, int], np.dtype[np.object_]]:
    """(m, tests) what the tests of shape find in some curves; empty where a curve has too few points for them."""
    tests = decision.tests.iloc[which]
    found = tests[list(TESTS)].to_numpy(dtype=object)
    found[(tests["note"] != "").to_numpy() & tests["break_at"].isna().to_numpy()] = ""
    return found


def _batches(curves: CurveSet, settings: ShapeSettings, margin: Array) -> Iterator[Batch]:
    for which, at in curves.batches():
        size = max(1, _PAIRS // at.shape[1] ** 2)
        for begin in range(0, len(which), size):
            some = slice(begin, begin + size)
            arrays = curves.arrays(which[some], at[some], margin)
            yield Batch(which[some], at[some], arrays, moves_of(arrays, settings))
