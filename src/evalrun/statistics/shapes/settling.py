"""Where a curve that is known at some of its steps has to be looked at more closely before its shape is settled.

The curve is judged by the rules of the report, on what was evaluated so far: which moves count, its label. A gap
between two evaluated neighbours is *small* if the difference of its ends, on the same items where these are read, is
shown to be less than a large move: |difference| + 1.645 standard errors below the larger of the smallest change of
interest and `move_share` of the curve's range (two one-sided tests at 5 %).

- *too few points*: every gap is open.
- *undecided*, *non-monotonic*: every gap is open that is not small; but none where all values that were seen lie within
  the smallest change of interest of one another, so that there is nothing yet to be decided about.
- *positive*, *inverse*, *emergent*, *late drop*: the gaps are open that hold at least `jump_share` of the curve's
  range: whether a rise is sudden, and where a fall begins, is decided there.
- *positive*, *inverse* with a sudden move, when no step is left in these gaps: all gaps before it are open while fewer
  than five points were seen up to it, since what is emergent, or a late drop, has to be level before.
- *U-shaped*, *inverted-U*: none is. Both arms count, and more points between cannot take that back.
- *flat*: none is, from five points on; before that all are.

What this cannot see: a dip or a bump between two neighbours that lies within one gap, and a turn more exactly than to
the neighbours of the checkpoint that shows it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy.stats import norm

from evalrun.statistics.shapes.decision import Batch, Decision
from evalrun.statistics.shapes.moves import Flags

_BOUND = float(norm.isf(0.05))
_FEW = 5  # points below which a level is not yet one

Gaps = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class CurveSoFar:
    """A curve at the steps that were evaluated."""

    task: str
    title: str
    model: str
    seed: int | None
    label: str
    gaps: Gaps  # the steps of neighbours between which it is open
    before: Gaps  # the same once no step is left in `gaps`


def curves_so_far(decision: Decision, shapes: pd.DataFrame) -> Iterator[CurveSoFar]:
    """Every curve over training, with the gaps that are open.

    Args:
        decision: Of `over_training`'s curves, of what was evaluated.
        shapes: `labels.describe_shapes` of it.
    """
    label = shapes["label"].to_numpy()
    rows = decision.curves.rows
    for batch in decision.batches():
        for place, which in enumerate(batch.which):
            own = rows.iloc[batch.at[place]]
            first, steps = own.iloc[0], [int(step) for step in own["step"]]
            neighbours = list(pairwise(steps))
            is_open = _open(decision, batch, place, str(label[which]))
            level = _level_before(decision, batch, place, str(label[which]))
            yield CurveSoFar(
                str(first["task"]),
                str(first["title"]),
                str(first["model"]),
                None if pd.isna(first["seed"]) else int(first["seed"]),
                str(label[which]),
                tuple(neighbours[at] for at in np.flatnonzero(is_open)),
                tuple(neighbours[:level]),
            )


def _open(decision: Decision, batch: Batch, place: int, label: str) -> Flags:
    """(k - 1,) of one curve, which gaps between neighbours are open."""
    settings, moves, up = decision.settings, batch.moves, batch.curves.up[place]
    k, margin, span = len(up), float(batch.curves.margin[place]), float(np.ptp(up))
    at = np.arange(k - 1)
    size, error = np.abs(moves.size[place, at, at + 1]), moves.error[place, at, at + 1]
    if label == "too few points" or (label == "flat" and k < _FEW):
        return np.ones(k - 1, dtype=bool)
    if label in ("undecided", "non-monotonic"):
        small = size + _BOUND * error < max(margin, settings.move_share * span)
        return np.asarray(~small & (span >= margin), dtype=bool)
    if label in ("positive", "inverse", "emergent", "late drop"):
        return np.asarray(size >= settings.jump_share * span, dtype=bool)
    return np.zeros(k - 1, dtype=bool)


def _level_before(decision: Decision, batch: Batch, place: int, label: str) -> int:
    """How many gaps of one curve, from its start, are open because too few points are known before a sudden move."""
    if label not in ("positive", "inverse"):
        return 0
    x, up, settings = batch.curves.x[place], batch.curves.up[place], decision.settings
    at = np.arange(len(up))
    ahead = at[None, :] - at[:, None]
    within = (ahead == 1) | ((ahead > 1) & (x[None, :] - x[:, None] <= np.log10(settings.jump_within) + 1e-9))
    moved = np.where(within, np.abs(up[None, :] - up[:, None]), 0.0).max(axis=1)
    start = int(moved.argmax())
    return start if moved[start] >= settings.jump_share * np.ptp(up) and start + 1 < _FEW else 0
